// Names of the references that keep the values of WeakMaps alive. V8 builds them from other names:
//
//   12 / part of key (KEY @34) -> value (VALUE @56) pair in WeakMap (table @78)
//
// KEY and VALUE are names of nodes of any type, including strings; the numbers after @ are ids of
// nodes. DevTools recognizes these references by this form, and finds the table by its id.
#pragma once

#include <optional>
#include <string_view>

namespace stillframe {

struct PairName {
  std::string_view number;
  std::string_view key;
  std::string_view key_id;
  std::string_view value;
  std::string_view value_id;
  std::string_view table_id;

  // True if V8 may have built the name in this way.
  static bool IsIn(std::string_view name);
  // Returns nothing if the name can be split in more than one way or not at all: a KEY or VALUE can
  // look like the rest of the name.
  static std::optional<PairName> Parse(std::string_view name);
};

}  // namespace stillframe
