// The names of references that keep the values of WeakMaps alive, which V8 makes of other names:
//
//   12 / part of key (KEY @34) -> value (VALUE @56) pair in WeakMap (table @78)
//
// KEY and VALUE are the names of nodes of any type, strings too, and the numbers behind @ the ids of
// nodes. DevTools knows such references by this form, and finds the table by its id.
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

  // Whether V8 may have made the name in this way.
  static bool IsIn(std::string_view name);
  // Nothing if it is not of this form alone: a KEY or VALUE can look like the rest of it.
  static std::optional<PairName> Parse(std::string_view name);
};

}  // namespace stillframe
