// Removes the contents of strings from heap snapshots.
//
// V8 has one table of strings, which comes last: the text "password" is the name of a property in
// one place and the content of a string in another. So the file gets each string twice, once
// redacted as content and once redacted as a name. The type of a node or an edge decides which of
// the two it refers to, before the table has been seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heap/snapshot_filter.h"

namespace stillframe {

class Redactor final : public SnapshotFilter {
 private:
  // The meaning of the name field of a node or an edge.
  enum class Use : uint8_t { kContent, kName, kIndex, kOwnWord };
  struct Rule {
    std::string_view type;
    Use use;
    uint32_t word = 0;  // for kOwnWord
  };
  static Rule RuleOf(Records kind, std::string_view type);

  bool OnBegin(Records kind, const Layout& layout) override;
  void OnRecord(Records kind, uint64_t* record) override;
  void OnString(bool in_table, std::string_view escaped, std::string* out) override;
  uint64_t IndexFor(uint64_t string, Use use);

  // For the records that are being read.
  std::vector<Rule> rules_;  // by type
  size_t type_field_ = kNone;
  size_t name_field_ = kNone;
  std::vector<size_t> string_fields_;
  // By string: what it is used as.
  std::vector<bool> contents_;
  std::vector<bool> names_;
  size_t strings_ = 0;  // of the table so far
};

}  // namespace stillframe
