// Sums by which memory is compared, one for each page, and what is made of them: the checksum of a
// block, and that of all memory that a frame restores.
//
// The code neither allocates nor locks, so a forked child may use it too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/format.h"

namespace stillframe {

// Sum of a page that is not all zero.
PageSum SumOfPage(const std::byte* page);

// The checksum of a block that is stored as it is: of the sums of its pages in the file. `pages`
// has a bit for each of them, `sums` and `bytes` are those of all pages of the block.
uint64_t ChecksumOfSums(const PageSum* sums, uint64_t pages);
uint64_t ChecksumOfPages(const std::byte* bytes, uint64_t pages);

// Stands for the sum of a page of which nothing is known. No page has this sum.
inline constexpr PageSum kUnknownPage{~uint64_t{0}, ~uint64_t{0}};

// The checksum of a state: the sum, modulo 2^64 in each half, of one XXH3-128 for each
// block that is not all zero. The order in which blocks are added, and the number of
// threads that add them, do not matter.
class StateSum {
 public:
  StateSum() = default;
  // `sums` has kPagesPerBlock elements, which are zero for pages that the block does not have.
  void Add(uint32_t section, uint64_t block, const PageSum* sums);
  // Adds a block, given its whole pages.
  void AddPages(uint32_t section, uint64_t block, const std::byte* bytes, uint64_t length);
  void Add(const StateSum& other);
  PageSum value() const { return value_; }

 private:
  PageSum value_{0, 0};
};

}  // namespace stillframe
