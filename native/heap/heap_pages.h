// The pages of one V8 heap, found by their headers. A page is aligned to 256 KiB; a larger page
// holds a single object. The positions of the header's fields differ between versions of V8: a
// PageFormat describes each version that we know, and a header that does not fit it is rejected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/mapping_list.h"

namespace stillframe {

// Indexes of words in the header or, if its fields are elsewhere, in the structure that the header
// refers to.
struct PageFormat {
  bool elsewhere;     // word 1 of the header is the address of the fields
  size_t flags;       // always in the header itself
  size_t self;        // the address of the page
  size_t heap;        // 0 for the pages that all heaps of the process share
  size_t area_start;  // of the objects
  size_t area_end;
};

// The format of the pages in this version of V8.
PageFormat PageFormatOf(int v8_major);

struct HeapPage {
  uintptr_t start;  // of the objects
  uintptr_t end;
  bool of_this_heap;  // otherwise all heaps share the page
  bool old_copies;    // its objects have been moved away, and will be overwritten
  bool young;         // holds new objects, or waits for them and still holds old copies
};

class HeapPages {
 public:
  static constexpr uintptr_t kPageSize = uintptr_t{256} << 10;

  // Looks at every address in `memory` (in ascending order) where a page may begin. The heap to
  // look for is the one whose own address is in `heap`. FaultGuard must have been installed.
  static HeapPages Find(const PageFormat& format, const std::vector<AddressRange>& memory,
                        AddressRange heap);

  // In ascending order.
  const std::vector<HeapPage>& pages() const { return pages_; }
  // True if one page holds all of these bytes in its object area.
  bool Contains(uintptr_t address, size_t length) const;

 private:
  std::vector<HeapPage> pages_;
};

}  // namespace stillframe
