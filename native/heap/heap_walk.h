// Walks over the objects of a heap that stands still, page by page and from one object to the next,
// and counts them by map. It only reads: it needs nothing of V8, not even that the heap is between
// two garbage collections, and makes no page of it the copy's own.
//
// What it reads it does not believe. A word is taken for the beginning of an object only if it
// leads to a map, which is an object on a page whose own map is a map of maps; where there is none
// (memory that has been swept, or is about to be handed out) the walk goes on a word further. So it
// counts what lies on the pages: objects that nothing refers to any longer too, until V8 reuses
// their memory. Of a page of the young generation only what comes before the first gap is counted:
// behind it may be what was there before V8 moved it away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "heap/class_histogram.h"
#include "heap/heap_layout.h"
#include "heap/heap_pages.h"
#include "heap/largest.h"

namespace stillframe {

// What is known of the objects with one map.
struct MapCount {
  uintptr_t map = 0;
  uint32_t size = 0;  // in bytes; 0: varies
  uint16_t type = 0;
  ObjectKind kind = ObjectKind::kUnknown;
  ObjectCount objects;
  uintptr_t sample = 0;  // the address of one of them
};

// Maps by address, in one table of a bounded size.
class MapTable {
 public:
  // Holds three quarters of `slots`, a power of two.
  explicit MapTable(size_t slots) : slots_(slots), most_(slots / 4 * 3) {}

  MapCount* Find(uintptr_t map);
  // Null when it is full.
  MapCount* Insert(const MapCount& count);
  const std::vector<MapCount>& slots() const { return slots_; }  // those without a map are empty

 private:
  size_t SlotOf(uintptr_t map) const {
    return (map >> 3) * 0x9E3779B97F4A7C15U >> 20 & (slots_.size() - 1);
  }

  std::vector<MapCount> slots_;
  size_t most_;
  size_t used_ = 0;
};

struct WalkResult {
  static constexpr size_t kLargest = 20;

  ObjectCount objects;
  ObjectCount without_table;  // of them, those whose map had no place in the table
  ObjectCount strings;
  uint64_t external_string_bytes = 0;  // what strings have outside of the heap
  ObjectCount buffers;                 // ArrayBuffers and the bytes they refer to
  Largest<kLargest> largest_strings;
  Largest<kLargest> largest_buffers;
  uint64_t free_bytes = 0;     // between objects
  uint64_t skipped_bytes = 0;  // on which nothing was recognized
  uint64_t faults = 0;         // pages that could not be read to their end
};

class HeapWalk {
 public:
  // Memory that is reserved for the next objects, [start, end): what it holds is of the past.
  using Gap = AddressRange;

  HeapWalk(const HeapLayout& layout, const HeapPages& pages, std::vector<Gap> gaps, MapTable* maps)
      : layout_(layout), pages_(pages), gaps_(std::move(gaps)), maps_(maps) {}

  // FaultGuard must have been installed.
  WalkResult Run();

 private:
  void WalkPage(const HeapPage& page);
  bool IsMap(uintptr_t word);
  // The map that this word refers to; null if it does not.
  MapCount* MapOf(uintptr_t word);
  // 0 if the object would not fit.
  size_t SizeOf(const MapCount& map, uintptr_t object, uintptr_t end);
  void Count(MapCount* map, uintptr_t object, size_t size);

  const HeapLayout& layout_;
  const HeapPages& pages_;
  const std::vector<Gap> gaps_;
  MapTable* maps_;
  MapCount without_table_;  // the last one that did not fit into it
  WalkResult result_;
};

}  // namespace stillframe
