// Rounding and checked arithmetic for sizes that come from outside the library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// `alignment` must be a power of two.
constexpr uint64_t RoundUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}
constexpr uint64_t RoundDown(uint64_t value, uint64_t alignment) {
  return value & ~(alignment - 1);
}
constexpr uint64_t DivideRoundingUp(uint64_t value, uint64_t by) {
  return value / by + (value % by != 0);
}

// Returns false and leaves *out untouched if the sum does not fit.
inline bool CheckedAdd(uint64_t a, uint64_t b, uint64_t* out) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return false;
  *out = sum;
  return true;
}
inline bool CheckedMultiply(uint64_t a, uint64_t b, uint64_t* out) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return false;
  *out = product;
  return true;
}

}  // namespace stillframe
