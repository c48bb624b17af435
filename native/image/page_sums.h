// What pages are compared by: a sum for each page, and one for all of the memory that a frame restores to.
//
// No allocation, no lock: also used in the forked child.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/format.h"

namespace stillframe {

// Of a page that has a byte that is not zero.
PageSum SumOfPage(const std::byte* page);

// Of a page of which nothing is known. No page has it.
inline constexpr PageSum kUnknownPage{~uint64_t{0}, ~uint64_t{0}};

// The checksum of a state: the sum, in each half modulo 2^64, of one XXH3-128 for each block that is not all zero. It is
// the same in whatever order, and by how many threads, the blocks are added.
class StateSum {
 public:
  StateSum() = default;
  // `sums` has kPagesPerBlock of them; those of pages that a block does not have are zero.
  void Add(uint32_t section, uint64_t block, const PageSum* sums);
  void Add(const StateSum& other);
  PageSum value() const { return value_; }

 private:
  PageSum value_{0, 0};
};

}  // namespace stillframe
