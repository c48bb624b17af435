// The pages of one V8 heap, found by their headers. A page is aligned to 256 KiB; one that is
// larger holds a single object. Where the fields of the header are differs between versions of V8:
// each that we know is a PageFormat, and nothing is believed that does not fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/mapping_list.h"

namespace stillframe {

// Numbers of words in the header; of what it refers to, if it has its fields elsewhere.
struct PageFormat {
  bool elsewhere;     // word 1 of the header is the address of the fields
  size_t flags;       // of the header itself
  size_t self;        // the address of the page
  size_t heap;        // 0 for the pages that all heaps of the process share
  size_t area_start;  // of the objects
  size_t area_end;
};

// Of this version of V8's.
PageFormat PageFormatOf(int v8_major);

struct HeapPage {
  uintptr_t start;  // of the objects
  uintptr_t end;
  bool of_this_heap;  // otherwise one that all heaps share
  bool old_copies;    // its objects have been moved away, and wait to be overwritten
  bool young;         // may be in use, or wait for objects and hold what has been moved away
};

class HeapPages {
 public:
  static constexpr uintptr_t kPageSize = uintptr_t{256} << 10;

  // Looks at each place of `memory` (in ascending order) where a page may begin. The heap is the
  // one whose own address is in `heap`. FaultGuard must have been installed.
  static HeapPages Find(const PageFormat& format, const std::vector<AddressRange>& memory,
                        AddressRange heap);

  // In ascending order.
  const std::vector<HeapPage>& pages() const { return pages_; }
  // Whether all of these bytes are where a page has objects.
  bool Contains(uintptr_t address, size_t length) const;

 private:
  std::vector<HeapPage> pages_;
};

}  // namespace stillframe
