#include "heap/fresh_ids.h"

#include <algorithm>
#include <mutex>

namespace stillframe {
namespace {

struct Given {
  std::mutex mutex;
  uint32_t next = FreshIds::kLowest;
};

Given& GivenIds() {
  static auto* given =
      new Given;  // never destroyed: a Worker may take some while the process exits
  return *given;
}

// V8 gives every second number, and its smallest objects have 16 bytes.
constexpr uint64_t kBytesPerId = 8;
// Ids of objects that Node and V8 have outside the heap.
constexpr uint64_t kIdsOutsideOfHeap = uint64_t{1} << 20;

}  // namespace

uint64_t FreshIds::MostFor(uint64_t used_bytes) {
  return (used_bytes / kBytesPerId + kIdsOutsideOfHeap) & ~uint64_t{1};
}

uint32_t FreshIds::Take(uint64_t at_most) {
  Given& given = GivenIds();
  const std::lock_guard lock(given.mutex);
  // After two thousand million ids they begin again; by then no two files with the same ids are
  // likely to be compared.
  if (given.next + at_most > UINT32_MAX) given.next = kLowest;
  const uint32_t first = given.next;
  given.next += static_cast<uint32_t>(std::min<uint64_t>(at_most, UINT32_MAX - first));
  return first;
}

void FreshIds::GiveBack(uint32_t first, uint64_t at_most, uint32_t highest) {
  Given& given = GivenIds();
  const std::lock_guard lock(given.mutex);
  if (given.next == first + at_most) given.next = (std::max(first, highest) + 2) & ~uint32_t{1};
}

void IdMover::OnBegin(Records kind, const Layout& layout) {
  id_field_ = kind == Records::kNodes ? layout.IndexOf("id") : kNone;
}

void IdMover::OnRecord(Records /*kind*/, uint64_t* record) {
  if (id_field_ == kNone) return;
  uint64_t& id = record[id_field_];
  const bool is_odd = id % 2 != 0;
  if (is_odd && static_cast<int64_t>(id) <= last_kept_) return;
  // The odd ids become even and the other way round, so that these do not meet either. An even one
  // is made of an address, and may be any number of 32 bits: only that it is another one counts.
  id = is_odd ? first_ + (id - static_cast<uint64_t>(last_kept_)) : first_ + 1 + 2 * outside_++;
  highest_ = std::max(highest_, static_cast<uint32_t>(id));
}

}  // namespace stillframe
