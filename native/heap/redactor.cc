#include "heap/redactor.h"

#include <algorithm>

#include "heap/masked_text.h"

namespace stillframe {
namespace {

// The nodes that V8 names itself. Our copies of its words are at the beginning of the table, so
// that anything that a later V8 may put in their place does not get through.
constexpr std::string_view kOwnWords[] = {
    "(concatenated string)", "(sliced string)", "symbol", "heap number", "bigint",
};
constexpr uint64_t kFirstString = std::size(kOwnWords);

// The numbers of strings are always lower. No bits are kept for numbers from here on.
constexpr uint64_t kMostStrings = uint64_t{1} << 31;

}  // namespace

// Types that a later V8 may add count as content.
Redactor::Rule Redactor::RuleOf(Records kind, std::string_view type) {
  static constexpr Rule kNodes[] = {
      {"hidden", Use::kName},
      {"array", Use::kName},
      {"object", Use::kName},
      {"code", Use::kName},
      {"closure", Use::kName},
      {"native", Use::kName},
      {"synthetic", Use::kName},
      {"object shape", Use::kName},
      {"concatenated string", Use::kOwnWord, 0},
      {"sliced string", Use::kOwnWord, 1},
      {"symbol", Use::kOwnWord, 2},
      {"number", Use::kOwnWord, 3},
      {"bigint", Use::kOwnWord, 4},
      // "string" and "regexp" have content.
  };
  static constexpr Rule kEdges[] = {
      {"context", Use::kName},  {"property", Use::kName}, {"internal", Use::kName},
      {"shortcut", Use::kName}, {"weak", Use::kName},     {"element", Use::kIndex},
      {"hidden", Use::kIndex},
  };
  const Rule unknown{type, Use::kContent};
  const auto find = [&](const auto& rules) {
    const auto* found = std::find_if(std::begin(rules), std::end(rules),
                                     [&](const Rule& rule) { return rule.type == type; });
    return found == std::end(rules) ? unknown : *found;
  };
  return kind == Records::kNodes ? find(kNodes) : find(kEdges);
}

bool Redactor::OnBegin(Records kind, const Layout& layout) {
  rules_.clear();
  string_fields_.clear();
  type_field_ = layout.IndexOf("type");
  name_field_ = layout.IndexOf(kind == Records::kEdges ? "name_or_index" : "name");
  if (kind == Records::kTraceFunctions) {
    // "meta" gives no types for these. They have names only.
    for (const size_t field : {name_field_, layout.IndexOf("script_name")}) {
      if (field != kNone) string_fields_.push_back(field);
    }
    return true;
  }
  const size_t described = std::min(layout.fields.size(), layout.types.size());
  for (size_t field = 0; field < described; field++) {
    const FieldType& type = layout.types[field];
    if (type.name.starts_with("string")) string_fields_.push_back(field);
    if (field != type_field_) continue;
    for (const std::string& value : type.values) rules_.push_back(RuleOf(kind, value));
  }
  return true;
}

uint64_t Redactor::IndexFor(uint64_t string, Use use) {
  if (string >= kMostStrings) return 0;
  std::vector<bool>& used = use == Use::kName ? names_ : contents_;
  if (used.size() <= string) used.resize(string + 1);
  used[string] = true;
  return kFirstString + 2 * string + (use == Use::kName ? 1 : 0);
}

void Redactor::OnRecord(Records kind, uint64_t* record) {
  Rule rule{{}, kind == Records::kTraceFunctions ? Use::kName : Use::kContent};
  if (kind != Records::kTraceFunctions && type_field_ != kNone) {
    const uint64_t type = record[type_field_];
    if (type < rules_.size()) rule = rules_[type];
  }
  for (const size_t field : string_fields_) {
    const bool is_name = field == name_field_ || kind == Records::kTraceFunctions;
    const Use use = is_name ? rule.use : Use::kContent;
    if (use == Use::kIndex) continue;
    record[field] = use == Use::kOwnWord ? rule.word : IndexFor(record[field], use);
  }
}

void Redactor::OnString(bool in_table, std::string_view escaped, std::string* out) {
  const auto quoted = [out](auto append) {
    *out += '"';
    append();
    *out += '"';
  };
  if (!in_table) {
    // A string in a part of the file that is not known yet.
    quoted([&] { AppendMasked(escaped, out); });
    return;
  }
  if (strings_ == 0) {
    for (const std::string_view word : kOwnWords) {
      quoted([&] { *out += word; });
      *out += ",\n";
    }
  }
  const auto is_used = [&](const std::vector<bool>& used) {
    return strings_ < used.size() && used[strings_];
  };
  quoted([&] {
    if (is_used(contents_)) AppendMasked(escaped, out);
  });
  *out += ',';
  quoted([&] {
    if (is_used(names_)) AppendName(escaped, out);
  });
  strings_++;
}

}  // namespace stillframe
