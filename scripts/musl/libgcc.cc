// Symbols that a Node for musl takes from Alpine's libgcc_s and libstdc++, and that are neither in
// libunwind nor in gcc 12: 128-bit arithmetic, and a function that gcc 13 has moved out of
// std::string. Slow, and for tests only.

extern "C" {

void* memcpy(void*, const void*, unsigned long);
void* memmove(void*, const void*, unsigned long);

/// std::string::_M_replace_cold(): replaces `length` characters with `with`, which may be part of
/// the string itself.
void ReplaceCold(void*, char* at, unsigned long length, const char* with, unsigned long new_length, unsigned long rest) __asm__(
    "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE15_M_replace_coldEPcmPKcmm");
void ReplaceCold(void*, char* at, unsigned long length, const char* with, unsigned long new_length,
                 unsigned long rest) {
  char* copy = static_cast<char*>(__builtin_alloca(new_length + 1));
  memcpy(copy, with, new_length);
  memmove(at + new_length, at + length, rest);
  memcpy(at, copy, new_length);
}

using Unsigned = unsigned __int128;
using Signed = __int128;

Unsigned __udivmodti4(Unsigned value, Unsigned divisor, Unsigned* rest) {
  Unsigned quotient = 0;
  Unsigned left = 0;
  for (int bit = 127; bit >= 0; bit--) {
    left = (left << 1) | ((value >> bit) & 1);
    if (left < divisor) continue;
    left -= divisor;
    quotient |= Unsigned{1} << bit;
  }
  if (rest != nullptr) *rest = left;
  return quotient;
}
Unsigned __udivti3(Unsigned value, Unsigned divisor) {
  return __udivmodti4(value, divisor, nullptr);
}
Unsigned __umodti3(Unsigned value, Unsigned divisor) {
  Unsigned rest;
  __udivmodti4(value, divisor, &rest);
  return rest;
}

Signed __divti3(Signed value, Signed divisor) {
  const Unsigned quotient = __udivti3(value < 0 ? -Unsigned(value) : Unsigned(value),
                                      divisor < 0 ? -Unsigned(divisor) : Unsigned(divisor));
  return (value < 0) != (divisor < 0) ? -Signed(quotient) : Signed(quotient);
}
Signed __modti3(Signed value, Signed divisor) {
  const Unsigned rest = __umodti3(value < 0 ? -Unsigned(value) : Unsigned(value),
                                  divisor < 0 ? -Unsigned(divisor) : Unsigned(divisor));
  return value < 0 ? -Signed(rest) : Signed(rest);
}

int __popcountdi2(long long value) {
  int count = 0;
  for (unsigned long long left = value; left != 0; left &= left - 1) count++;
  return count;
}
}
