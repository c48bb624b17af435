#include "heap/heap_walk.h"

#include <algorithm>
#include <cstring>

#include "heap/fault_guard.h"

namespace stillframe {
namespace {

constexpr size_t kWord = sizeof(uintptr_t);
constexpr uintptr_t kTagMask = 3;
constexpr uintptr_t kObjectTag = 1;
// The bits that hold the length of a PropertyArray; a hash code is above them.
constexpr uint64_t kPropertiesLengthMask = 0x3FF;
constexpr int kSmallIntegerShift = 32;
constexpr size_t kMapBytes = 64;  // the most that is read of a map

template <typename T>
T Load(uintptr_t address) {
  T value;
  memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}

// An alignment of 8 bytes is enough for everything in the heap.
constexpr uint64_t RoundUp(uint64_t bytes) { return (bytes + kWord - 1) & ~(kWord - 1); }

}  // namespace

MapCount* MapTable::Find(uintptr_t map) {
  if (map == 0) return nullptr;
  for (size_t slot = SlotOf(map);; slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot].map == map) return &slots_[slot];
    if (slots_[slot].map == 0) return nullptr;
  }
}

MapCount* MapTable::Insert(const MapCount& count) {
  if (used_ >= most_) return nullptr;
  size_t slot = SlotOf(count.map);
  while (slots_[slot].map != 0) slot = (slot + 1) & (slots_.size() - 1);
  used_++;
  slots_[slot] = count;
  return &slots_[slot];
}

WalkResult HeapWalk::Run() {
  for (const HeapPage& page : pages_.pages()) {
    if (!page.of_this_heap || page.old_copies) continue;
    if (!FaultGuard::Try([&] { WalkPage(page); })) result_.faults++;
  }
  return result_;
}

void HeapWalk::WalkPage(const HeapPage& page) {
  uintptr_t at = page.start;
  while (at + kWord <= page.end) {
    const auto gap = std::find_if(gaps_.begin(), gaps_.end(), [&](const Gap& reserved) {
      return reserved.start == at && reserved.end > at && reserved.end <= page.end;
    });
    if (gap != gaps_.end()) {
      result_.free_bytes += gap->end - at;
      at = gap->end;
      continue;
    }
    MapCount* map = MapOf(Load<uintptr_t>(at));
    const size_t size = map == nullptr ? 0 : SizeOf(*map, at, page.end);
    if (size != 0) {
      Count(map, at, size);
      at += size;
    } else if (page.young) {
      // Objects on such a page follow one another without gaps. What comes after the last one has
      // been moved away.
      result_.skipped_bytes += page.end - at;
      return;
    } else {
      result_.skipped_bytes += kWord;
      at += kWord;
    }
  }
}

bool HeapWalk::IsMap(uintptr_t word) {
  if ((word & kTagMask) != kObjectTag || (word - kObjectTag) % kWord != 0) return false;
  const uintptr_t map = word - kObjectTag;
  if (maps_->Find(map) != nullptr) return true;
  if (!pages_.Contains(map, kMapBytes)) return false;
  const auto word_of_map = Load<uintptr_t>(map);
  const uintptr_t map_of_map = word_of_map - kObjectTag;
  return (word_of_map & kTagMask) == kObjectTag && pages_.Contains(map_of_map, kMapBytes) &&
         Load<uintptr_t>(map_of_map) == word_of_map &&
         Load<uint16_t>(map_of_map + layout_.instance_type) == layout_.map;
}

MapCount* HeapWalk::MapOf(uintptr_t word) {
  if (!IsMap(word)) return nullptr;
  const uintptr_t map = word - kObjectTag;
  if (MapCount* known = maps_->Find(map)) return known;
  MapCount found;
  found.map = map;
  found.type = Load<uint16_t>(map + layout_.instance_type);
  found.size = static_cast<uint32_t>(Load<uint8_t>(map + layout_.instance_size_in_words) * kWord);
  found.kind = layout_.KindOf(found.type, found.size);
  if (MapCount* inserted = maps_->Insert(found)) return inserted;
  without_table_ = found;
  return &without_table_;
}

size_t HeapWalk::SizeOf(const MapCount& map, uintptr_t object, uintptr_t end) {
  const uint64_t room = end - object;
  uint64_t size = map.size;
  const auto string_length = [&]() -> uint64_t {
    return Load<uint32_t>(object + layout_.string_length);
  };
  const auto array_length = [&]() -> uint64_t {
    return Load<uint64_t>(object + layout_.array_length) >> kSmallIntegerShift;
  };
  if (map.kind != ObjectKind::kFixed && room < 2 * kWord) return 0;
  switch (map.kind) {
    case ObjectKind::kFixed:
      break;
    case ObjectKind::kOneByte:
      size = RoundUp(layout_.string_characters + string_length());
      break;
    case ObjectKind::kTwoByte:
      size = RoundUp(layout_.string_characters + 2 * string_length());
      break;
    case ObjectKind::kWords:
      size = layout_.array_elements + array_length() * kWord;
      break;
    case ObjectKind::kBytes:
      size = RoundUp(layout_.array_elements + array_length());
      break;
    case ObjectKind::kProperties:
      size = layout_.array_elements + (array_length() & kPropertiesLengthMask) * kWord;
      break;
    case ObjectKind::kFreeSpace:
      size = RoundUp(array_length() * layout_.free_space_unit);
      break;
    case ObjectKind::kUnknown:
      for (size = kWord; size < room && !IsMap(Load<uintptr_t>(object + size));) size += kWord;
      break;
  }
  return size >= kWord && size <= room ? static_cast<size_t>(size) : 0;
}

void HeapWalk::Count(MapCount* map, uintptr_t object, size_t size) {
  if (map->kind == ObjectKind::kFreeSpace || map->type == layout_.filler) {
    result_.free_bytes += size;
    return;
  }
  const auto add = [&](ObjectCount* to) {
    to->count++;
    to->bytes += size;
  };
  add(&result_.objects);
  if (map == &without_table_) {
    add(&result_.without_table);
  } else {
    add(&map->objects);
    map->sample = object;
  }
  if (layout_.IsString(map->type)) {
    add(&result_.strings);
    const uint16_t representation = map->type & HeapLayout::kRepresentationMask;
    if (representation != HeapLayout::kFlat && representation != HeapLayout::kExternal) return;
    uint64_t bytes = Load<uint32_t>(object + layout_.string_length);
    if ((map->type & HeapLayout::kOneByteFlag) == 0) bytes *= 2;
    if (representation == HeapLayout::kExternal) result_.external_string_bytes += bytes;
    result_.largest_strings.Offer({bytes, object, 0});
  } else if (map->type == layout_.array_buffer && size >= layout_.buffer_store + kWord) {
    const auto bytes = Load<uint64_t>(object + layout_.buffer_byte_length);
    result_.buffers.count++;
    result_.buffers.bytes += bytes;
    result_.largest_buffers.Offer({bytes, object, Load<uintptr_t>(object + layout_.buffer_store)});
  }
}

}  // namespace stillframe
