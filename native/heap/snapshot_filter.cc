#include "heap/snapshot_filter.h"

#include <algorithm>
#include <charconv>

namespace stillframe {
namespace {

// The section with the records of one kind, and the lists of "meta" that describe them.
struct Kind {
  std::string_view section;
  std::string_view fields;
  std::string_view types;
};
constexpr Kind kKindNames[] = {
    {"nodes", "node_fields", "node_types"},
    {"edges", "edge_fields", "edge_types"},
    {"trace_function_infos", "trace_function_info_fields", "trace_function_info_types"},
};

// Depths: the sections, the parts of "snapshot", the lists of "meta", and their contents.
constexpr size_t kSections = 1;
constexpr size_t kHead = 2;
constexpr size_t kMeta = 3;
constexpr size_t kItems = 4;
constexpr size_t kValues = 5;

}  // namespace

size_t SnapshotFilter::Layout::IndexOf(std::string_view field) const {
  const auto found = std::find(fields.begin(), fields.end(), field);
  return found == fields.end() ? kNone : static_cast<size_t>(found - fields.begin());
}

void SnapshotFilter::OnString(bool /*in_table*/, std::string_view escaped, std::string* out) {
  *out += '"';
  *out += escaped;
  *out += '"';
}

// Handles a string in "meta".
void SnapshotFilter::Describe() {
  for (size_t kind = 0; kind < kKinds; kind++) {
    Layout& layout = layouts_[kind];
    if (key_[kMeta] == kKindNames[kind].fields && depth_ == kItems) layout.fields.push_back(word_);
    if (key_[kMeta] != kKindNames[kind].types) continue;
    if (layout.types.size() <= item_) layout.types.resize(item_ + 1);
    if (depth_ == kItems) layout.types[item_].name = word_;
    if (depth_ == kValues) layout.types[item_].values.push_back(word_);
  }
}

void SnapshotFilter::EndString() {
  state_ = State::kText;
  const bool names_section = depth_ == kSections && !is_value_;
  const bool is_description = depth_ >= kHead && key_[kSections] == "snapshot";
  if (!names_section && !is_description) {
    OnString(depth_ == kHead && key_[kSections] == "strings", word_, &out_);
    return;
  }
  out_ += '"';
  out_ += word_;
  out_ += '"';
  if (is_description && key_[kHead] == "meta" && (depth_ == kItems || depth_ == kValues)) {
    Describe();
  }
}

void SnapshotFilter::Open(char bracket) {
  depth_++;
  is_value_ = false;
  if (depth_ <= kKeyDepth) key_[depth_].clear();
  if (depth_ == kItems) item_ = 0;
  if (bracket != '[' || depth_ != kHead) return;
  for (kind_ = 0; kind_ < kKinds; kind_++) {
    const Layout& layout = layouts_[kind_];
    if (key_[kSections] != kKindNames[kind_].section || layout.fields.empty()) continue;
    record_.clear();
    const bool is_wanted = OnBegin(static_cast<Records>(kind_), layout);
    state_ = is_wanted ? State::kRecords : State::kCopied;
    return;
  }
}

size_t SnapshotFilter::TakeText(std::string_view rest) {
  const char c = rest[0];
  if (c == '"') {
    word_.clear();
    is_escape_ = false;
    state_ = State::kString;
    return 1;
  }
  out_ += c;
  if (c == ':' || c == ',') is_value_ = c == ':';
  if (c == ':' && depth_ <= kKeyDepth) key_[depth_] = word_;
  if (c == ',' && depth_ == kItems) item_++;
  if (c == '{' || c == '[') Open(c);
  if ((c == '}' || c == ']') && depth_ > 0) depth_--;
  return 1;
}

size_t SnapshotFilter::TakeString(std::string_view rest) {
  size_t taken = 0;
  for (; taken < rest.size(); taken++) {
    const char c = rest[taken];
    if (is_escape_) {
      is_escape_ = false;
    } else if (c == '\\') {
      is_escape_ = true;
    } else if (c == '"') {
      word_ += rest.substr(0, taken);
      EndString();
      return taken + 1;
    }
  }
  word_ += rest;
  return taken;
}

// Writes no spaces, like V8.
void SnapshotFilter::WriteRecord() {
  for (size_t i = 0; i < record_.size(); i++) {
    char digits[20];  // enough for 64 bits
    const auto end = std::to_chars(digits, digits + sizeof digits, record_[i]).ptr;
    if (i > 0) out_ += ',';
    out_.append(digits, static_cast<size_t>(end - digits));
  }
  record_.clear();
}

void SnapshotFilter::EndNumber() {
  if (!in_number_) return;
  in_number_ = false;
  record_.push_back(number_);
  if (record_.size() < layouts_[kind_].fields.size()) return;
  OnRecord(static_cast<Records>(kind_), record_.data());
  WriteRecord();
}

// Called at ']', or at any character that no record has; the rest of the section is then copied
// unchanged.
void SnapshotFilter::EndRecords(char end) {
  const bool is_unfinished = !record_.empty();
  WriteRecord();
  if (is_unfinished && end != ']') out_ += ',';
  state_ = State::kText;
}

size_t SnapshotFilter::TakeRecords(std::string_view rest) {
  for (size_t taken = 0; taken < rest.size(); taken++) {
    const char c = rest[taken];
    if (c >= '0' && c <= '9') {
      const auto digit = static_cast<uint64_t>(c - '0');
      number_ = in_number_ ? number_ * 10 + digit : digit;
      in_number_ = true;
      continue;
    }
    EndNumber();
    if (c != ',' && c != '\n' && c != ' ') {
      EndRecords(c);
      return taken;
    }
    if (record_.empty()) out_ += c;
  }
  return rest.size();
}

size_t SnapshotFilter::TakeCopied(std::string_view rest) {
  const auto is_number = [](char c) { return (c >= '0' && c <= '9') || c == ',' || c == '\n'; };
  const auto end = std::find_if_not(rest.begin(), rest.end(), is_number);
  if (end != rest.end()) state_ = State::kText;
  out_.append(rest.begin(), end);
  return static_cast<size_t>(end - rest.begin());
}

std::string_view SnapshotFilter::Pass(std::string_view piece) {
  out_.clear();
  while (!piece.empty()) {
    size_t taken = 0;
    switch (state_) {
      case State::kText:
        taken = TakeText(piece);
        break;
      case State::kString:
        taken = TakeString(piece);
        break;
      case State::kRecords:
        taken = TakeRecords(piece);
        break;
      case State::kCopied:
        taken = TakeCopied(piece);
    }
    piece.remove_prefix(taken);
  }
  return out_;
}

}  // namespace stillframe
