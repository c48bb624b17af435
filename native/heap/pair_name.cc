#include "heap/pair_name.h"

#include <algorithm>

namespace stillframe {
namespace {

constexpr std::string_view kNumber = " / ";
constexpr std::string_view kKey = "part of key (";
constexpr std::string_view kValue = ") -> value (";
constexpr std::string_view kTable = ") pair in WeakMap (table @";
constexpr std::string_view kEnd = ")";
constexpr std::string_view kId = " @";

bool IsNumber(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Splits at `separator`, which must occur exactly once. False if it does not.
bool Split(std::string_view text, std::string_view separator, std::string_view* before,
           std::string_view* after) {
  const size_t at = text.find(separator);
  if (at == text.npos || text.find(separator, at + 1) != text.npos) return false;
  *after = text.substr(at + separator.size());
  *before = text.substr(0, at);
  return true;
}

// Splits "NAME @12"; NAME may contain further occurrences of " @".
bool SplitNode(std::string_view node, std::string_view* name, std::string_view* id) {
  const size_t at = node.rfind(kId);
  if (at == node.npos) return false;
  *name = node.substr(0, at);
  *id = node.substr(at + kId.size());
  return IsNumber(*id);
}

}  // namespace

bool PairName::IsIn(std::string_view name) { return name.find(kKey) != name.npos; }

std::optional<PairName> PairName::Parse(std::string_view name) {
  PairName pair;
  std::string_view rest;
  std::string_view key;
  std::string_view value;
  std::string_view table;
  if (!Split(name, kKey, &pair.number, &rest) || !Split(rest, kTable, &rest, &table) ||
      !Split(rest, kValue, &key, &value) || !pair.number.ends_with(kNumber) ||
      !table.ends_with(kEnd)) {
    return std::nullopt;
  }
  pair.number.remove_suffix(kNumber.size());
  pair.table_id = table.substr(0, table.size() - kEnd.size());
  if (!IsNumber(pair.number) || !IsNumber(pair.table_id) ||
      !SplitNode(key, &pair.key, &pair.key_id) || !SplitNode(value, &pair.value, &pair.value_id)) {
    return std::nullopt;
  }
  return pair;
}

}  // namespace stillframe
