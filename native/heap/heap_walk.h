// Walks over the objects of a heap that does not change, page by page and from one object to the
// next, and counts them by map. It only reads memory: it does not depend on V8, not even on the
// heap being between two garbage collections, and causes no copy-on-write of the heap's pages.
//
// It trusts nothing that it reads. A word counts as the beginning of an object only if it leads to
// a map, which is an object on a page whose own map is a map of maps. Where there is none (memory
// that has been swept, or is about to be handed out), the walk continues one word further. So it
// counts the objects that are on the pages, including those that nothing refers to any longer,
// until V8 reuses their memory. On a page of the young generation it counts only the objects before
// the first gap: after the gap there may be old contents that V8 has moved away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "heap/class_histogram.h"
#include "heap/heap_layout.h"
#include "heap/heap_pages.h"
#include "heap/largest.h"

namespace stillframe {

// The count of the objects with one map, and the properties of that map.
struct MapCount {
  uintptr_t map = 0;
  uint32_t size = 0;  // in bytes; 0: varies
  uint16_t type = 0;
  ObjectKind kind = ObjectKind::kUnknown;
  ObjectCount objects;
  uintptr_t sample = 0;  // the address of one of the objects
};

// Maps by address, in one table of a bounded size.
class MapTable {
 public:
  // `slots` is a power of two. The table is full when three quarters of them are used.
  explicit MapTable(size_t slots) : slots_(slots), most_(slots / 4 * 3) {}

  MapCount* Find(uintptr_t map);
  // Null if the table is full.
  MapCount* Insert(const MapCount& count);
  const std::vector<MapCount>& slots() const { return slots_; }  // a slot whose map is 0 is empty

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
  ObjectCount without_table;  // of them, the objects whose map had no place in the table
  ObjectCount strings;
  uint64_t external_string_bytes = 0;  // contents of strings outside the heap
  ObjectCount buffers;                 // ArrayBuffers, and the bytes that they refer to
  Largest<kLargest> largest_strings;
  Largest<kLargest> largest_buffers;
  uint64_t free_bytes = 0;     // between objects
  uint64_t skipped_bytes = 0;  // where no object was recognized
  uint64_t faults = 0;         // pages that could not be read to their end
};

class HeapWalk {
 public:
  // Memory reserved for the next objects, [start, end). Its contents are stale.
  using Gap = AddressRange;

  HeapWalk(const HeapLayout& layout, const HeapPages& pages, std::vector<Gap> gaps, MapTable* maps)
      : layout_(layout), pages_(pages), gaps_(std::move(gaps)), maps_(maps) {}

  // FaultGuard must have been installed.
  WalkResult Run();

 private:
  void WalkPage(const HeapPage& page);
  bool IsMap(uintptr_t word);
  // The map that `word` refers to; null if it does not refer to a map.
  MapCount* MapOf(uintptr_t word);
  // 0 if the object would not fit into the space up to `end`.
  size_t SizeOf(const MapCount& map, uintptr_t object, uintptr_t end);
  void Count(MapCount* map, uintptr_t object, size_t size);

  const HeapLayout& layout_;
  const HeapPages& pages_;
  const std::vector<Gap> gaps_;
  MapTable* maps_;
  MapCount without_table_;  // the last map that did not fit into the table
  WalkResult result_;
};

}  // namespace stillframe
