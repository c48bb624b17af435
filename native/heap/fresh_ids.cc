#include "heap/fresh_ids.h"

#include <algorithm>
#include <mutex>

namespace stillframe {
namespace {

constexpr std::string_view kFieldsKey = "\"node_fields\":[";
constexpr std::string_view kNodesKey = "\"nodes\":[";

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

bool IdMover::SeesKey(std::string_view key, char c, size_t* matched) const {
  if (c == key[*matched]) {
    ++*matched;
  } else {
    *matched = c == key[0] ? 1 : 0;
  }
  return *matched == key.size();
}

void IdMover::EndOfNumber() {
  if (!in_number_) return;
  const bool is_odd = number_ % 2 != 0;
  if (field_ == id_field_ && (!is_odd || static_cast<int64_t>(number_) > last_kept_)) {
    // The odd ids become even and the other way round, so that these do not meet either. An even one
    // is made of an address, and may be any number of 32 bits: only that it is another one counts.
    number_ = is_odd ? first_ + (number_ - static_cast<uint64_t>(last_kept_))
                     : first_ + 1 + 2 * outside_++;
    highest_ = std::max(highest_, static_cast<uint32_t>(number_));
  }
  moved_ += std::to_string(number_);
  number_ = 0;
  in_number_ = false;
}

void IdMover::Take(char c) {
  switch (place_) {
    case Place::kBefore:
      if (SeesKey(kFieldsKey, c, &matched_)) place_ = Place::kFields;
      break;
    case Place::kFields:
      if (c == ',' || c == ']') {
        if (word_ == "\"id\"") id_field_ = fields_;
        word_.clear();
        fields_++;
      } else {
        word_ += c;
      }
      if (c == ']') {
        place_ = Place::kBetween;
        matched_ = 0;
      }
      break;
    case Place::kBetween:
      if (SeesKey(kNodesKey, c, &matched_)) place_ = Place::kNodes;
      break;
    case Place::kNodes:
      if (c >= '0' && c <= '9') {
        number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
        in_number_ = true;
        return;
      }
      EndOfNumber();
      if (c == ',') field_ = (field_ + 1) % fields_;
      if (c == ']') place_ = Place::kAfter;
      break;
    case Place::kAfter:
      break;
  }
  moved_ += c;
}

std::string_view IdMover::Move(std::string_view piece) {
  if (place_ == Place::kAfter) return piece;
  moved_.clear();
  for (const char c : piece) Take(c);
  return moved_;
}

}  // namespace stillframe
