#include "heap/fresh_ids.h"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <optional>

#include "heap/pair_name.h"

namespace stillframe {
namespace {

struct Given {
  std::mutex mutex;
  uint32_t next = FreshIds::kLowest;
};

Given& GivenIds() {
  // Never destroyed: a Worker may take ids while the process exits.
  static auto* given = new Given;
  return *given;
}

// V8 uses every second number as an id, and its smallest objects have 16 bytes.
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
  // After two billion ids the numbers start over. By then it is unlikely that two files with the
  // same ids are compared.
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

bool IdMover::OnBegin(Records kind, const Layout& layout) {
  id_field_ = layout.IndexOf("id");
  return kind == Records::kNodes && id_field_ != kNone;
}

bool IdMover::IsMoved(uint64_t id) const {
  return id % 2 == 0 || static_cast<int64_t>(id) > last_kept_;
}

// Odd ids become even and even ids become odd, so that the two kinds do not collide.
uint64_t IdMover::Moved(uint64_t odd_id) const {
  return first_ + (odd_id - static_cast<uint64_t>(last_kept_));
}

void IdMover::OnRecord(Records /*kind*/, uint64_t* record) {
  uint64_t& id = record[id_field_];
  if (!IsMoved(id)) return;
  // An even id is derived from an address and may be any 32-bit number. Its new value only has to
  // be unique.
  id = id % 2 != 0 ? Moved(id) : first_ + 1 + 2 * outside_++;
  highest_ = std::max(highest_, static_cast<uint32_t>(id));
}

void IdMover::OnString(bool in_table, std::string_view escaped, std::string* out) {
  const std::optional<PairName> pair =
      in_table && PairName::IsIn(escaped) ? PairName::Parse(escaped) : std::nullopt;
  size_t copied = 0;
  *out += '"';
  if (pair) {
    for (const std::string_view digits : {pair->key_id, pair->value_id, pair->table_id}) {
      const auto begin = static_cast<size_t>(digits.data() - escaped.data());
      uint64_t id = 0;
      std::from_chars(digits.data(), digits.data() + digits.size(), id);
      // Ids of objects outside the heap do not occur in WeakMaps.
      if (id % 2 == 0 || !IsMoved(id)) continue;
      *out += escaped.substr(copied, begin - copied);
      *out += std::to_string(Moved(id));
      copied = begin + digits.size();
    }
  }
  *out += escaped.substr(copied);
  *out += '"';
}

}  // namespace stillframe
