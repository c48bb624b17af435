// Checks whether a page is all zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "image/format.h"

namespace stillframe {

// `bytes` may have any alignment. Stops at the first 64 bytes that are not all zero, so that a page
// of data costs next to nothing. Compilers turn the loop over eight words into vector code.
inline bool IsZeroPage(const std::byte* bytes) {
  for (size_t at = 0; at < kPageSize; at += 64) {
    uint64_t words[8];
    memcpy(words, bytes + at, sizeof words);
    uint64_t any = 0;
    for (const uint64_t word : words) any |= word;
    if (any != 0) return false;
  }
  return true;
}

}  // namespace stillframe
