#include "heap/heap_pages.h"

#include <algorithm>

#include "heap/fault_guard.h"

namespace stillframe {
namespace {

// Bits of the flags. They are the same in all versions.
constexpr uintptr_t kFromPage = uintptr_t{1} << 3;
constexpr uintptr_t kToPage = uintptr_t{1} << 4;
// The most bytes of a page before its objects.
constexpr uintptr_t kMostHeader = uintptr_t{32} << 10;
// The words of a header with its fields: so many must be in range, and no more are read.
constexpr size_t kHeaderWords = 16;

uintptr_t Word(uintptr_t address, size_t number) {
  return reinterpret_cast<const uintptr_t*>(address)[number];
}

// True if a page begins at `at`; `heap` is then the address of the page's heap.
bool ReadHeader(const PageFormat& format, uintptr_t at, uintptr_t limit, HeapPage* page,
                uintptr_t* heap) {
  uintptr_t fields = at;
  if (format.elsewhere) {
    fields = Word(at, 1);
    if (fields == 0 || fields % sizeof(uintptr_t) != 0) return false;
  }
  *heap = Word(fields, format.heap);
  page->start = Word(fields, format.area_start);
  page->end = Word(fields, format.area_end);
  const uintptr_t flags = Word(at, format.flags);
  page->old_copies = (flags & kFromPage) != 0;
  page->young = (flags & kToPage) != 0;
  // Pages that all heaps share no longer have all of their fields.
  const bool itself = *heap == 0 || Word(fields, format.self) == at;
  return itself && page->start > at && page->start <= at + kMostHeader &&
         page->start % sizeof(uintptr_t) == 0 && page->end > page->start && page->end <= limit;
}

}  // namespace

PageFormat PageFormatOf(int v8_major) {
  if (v8_major <= 11) return {false, 1, 10, 2, 3, 4};  // Node 20
  if (v8_major == 12) return {false, 0, 1, 3, 4, 5};   // Node 22
  return {true, 0, 1, 8, 9, 7};                        // Node 24 and 26
}

HeapPages HeapPages::Find(const PageFormat& format, const std::vector<AddressRange>& memory,
                          AddressRange heap) {
  static_assert(kHeaderWords * sizeof(uintptr_t) < kPageSize);
  HeapPages found;
  for (const AddressRange& range : memory) {
    uintptr_t at = (range.start + kPageSize - 1) & ~(kPageSize - 1);
    while (at + kHeaderWords * sizeof(uintptr_t) <= range.end) {
      HeapPage page{};
      uintptr_t owner = 0;
      bool is_page = false;
      // V8 removes parts of a page that nothing may access, so a page may extend beyond its range.
      const uintptr_t limit = std::max(range.end, at + kPageSize);
      FaultGuard::Try([&] { is_page = ReadHeader(format, at, limit, &page, &owner); });
      page.of_this_heap = owner >= heap.start && owner < heap.end;
      if (is_page && (page.of_this_heap || owner == 0)) {
        found.pages_.push_back(page);
        at = (page.end + kPageSize - 1) & ~(kPageSize - 1);
      } else {
        at += kPageSize;
      }
    }
  }
  return found;
}

bool HeapPages::Contains(uintptr_t address, size_t length) const {
  auto after =
      std::upper_bound(pages_.begin(), pages_.end(), address,
                       [](uintptr_t value, const HeapPage& page) { return value < page.start; });
  if (after == pages_.begin()) return false;
  const HeapPage& page = *--after;
  return address < page.end && length <= page.end - address;
}

}  // namespace stillframe
