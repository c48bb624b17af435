#include "image/page_copy.h"

#include <cstring>

#include "image/page_sums.h"
#include "image/zero_page.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace stillframe {
namespace {

#if defined(__x86_64__)
void CopyPastCache(const std::byte* from, std::byte* to) {
  constexpr size_t kAtOnce = 4;  // a cache line
  const auto* source = reinterpret_cast<const __m128i*>(from);
  auto* target = reinterpret_cast<__m128i*>(to);
  for (size_t i = 0; i < kPageSize / sizeof(__m128i); i += kAtOnce) {
    __m128i line[kAtOnce];
    for (size_t k = 0; k < kAtOnce; k++) line[k] = _mm_loadu_si128(source + i + k);
    for (size_t k = 0; k < kAtOnce; k++) _mm_stream_si128(target + i + k, line[k]);
  }
}
// Such stores are not ordered with others.
void EndOfCopies() { _mm_sfence(); }
#else
void CopyPastCache(const std::byte* from, std::byte* to) { memcpy(to, from, kPageSize); }
void EndOfCopies() {}
#endif

}  // namespace

CopiedPage AboutPage(const std::byte* page) {
  if (IsZeroPage(page)) return {{0, 0}, true};
  return {SumOfPage(page), false};
}

void CopyPages(const std::byte* from, uint64_t length, std::byte* to, CopiedPage* pages) {
  uint64_t at = 0;
  for (; at + kPageSize <= length; at += kPageSize) {
    *pages++ = AboutPage(from + at);
    CopyPastCache(from + at, to + at);
  }
  EndOfCopies();
  if (at == length) return;
  memcpy(to + at, from + at, length - at);
  *pages = AboutPage(to + at);
}

}  // namespace stillframe
