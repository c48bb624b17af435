// Finds the pages of a block that are not all zero: the bits of BlockEntry::present.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "image/format.h"

namespace stillframe {

// `length` is a multiple of the page size.
uint64_t PresentPages(const std::byte* bytes, uint64_t length);

// Length of the present pages, in bytes.
constexpr uint64_t DenseLength(uint64_t present) {
  return static_cast<uint64_t>(std::popcount(present)) * kPageSize;
}

}  // namespace stillframe
