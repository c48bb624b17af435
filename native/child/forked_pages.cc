#include "child/forked_pages.h"

#include <string.h>
#include <sys/mman.h>

#include "base/arithmetic.h"
#include "base/sys.h"

namespace stillframe {

// A page that was written to has become anonymous: it is mapped as such, or swapped out. A page
// that is not mapped has not been touched since the mapping was created, or since the page was
// given back.
bool ForkedPages::StillOfFile(uint32_t section, uint64_t offset, uint64_t length) const {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  constexpr uint64_t kOfFile = uint64_t{1} << 61;
  if (pagemap_fd < 0 || !sources[section].of_file) return false;
  const uint64_t from = reinterpret_cast<uintptr_t>(sources[section].data) + offset;
  const uint64_t first = from / page_size;
  const uint64_t end = DivideRoundingUp(from + length, page_size);
  uint64_t window[64];
  for (uint64_t page = first; page < end;) {
    const uint64_t count = end - page < 64 ? end - page : 64;
    const int64_t bytes = static_cast<int64_t>(count * sizeof(uint64_t));
    const uint64_t at = page * sizeof(uint64_t);
    if (sys::Pread(pagemap_fd, window, static_cast<size_t>(bytes), at) != bytes) return false;
    for (uint64_t i = 0; i < count; i++) {
      if ((window[i] & kSwapped) != 0) return false;
      if ((window[i] & kPresent) != 0 && (window[i] & kOfFile) == 0) return false;
    }
    page += count;
  }
  return true;
}

void ForkedPages::CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                             CopiedPage* pages) {
  CopyPages(sources[section].data + offset, length, out, pages);
}

void ForkedPages::Release(uint32_t section, uint64_t offset, size_t length) {
  if (!sources[section].releasable) return;
  // Only whole pages are given back: the rest of a page at the edge may belong to the neighboring
  // chunk.
  const uint64_t from = reinterpret_cast<uintptr_t>(sources[section].data) + offset;
  const uint64_t first = RoundUp(from, page_size);
  const uint64_t end = RoundDown(from + length, page_size);
  if (first < end) sys::Madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

}  // namespace stillframe
