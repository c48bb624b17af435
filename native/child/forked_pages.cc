#include "child/forked_pages.h"

#include <string.h>
#include <sys/mman.h>

#include "base/arithmetic.h"
#include "base/sys.h"

namespace stillframe {

void ForkedPages::CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) {
  memcpy(out, sources[section].data + offset, length);
}

void ForkedPages::Release(uint32_t section, uint64_t offset, size_t length) {
  if (!sources[section].releasable) return;
  // Only whole pages are given back: the rest of a page at the border may belong to the next chunk.
  const uint64_t from = reinterpret_cast<uintptr_t>(sources[section].data) + offset;
  const uint64_t first = RoundUp(from, page_size);
  const uint64_t end = RoundDown(from + length, page_size);
  if (first < end) sys::Madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

}  // namespace stillframe
