// Estimates how large a JSON text becomes in JavaScript, without parsing it. Parsing 64
// MiB of brackets would stop a service for seconds and take gigabytes; one pass over the
// bytes tells that in advance.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace stillframe {

struct JsonExtent {
  uint64_t values = 0;  // upper bound, not counting keys
  uint64_t depth = 0;   // nesting of arrays and objects
};

// Returns some result even for text that is not JSON.
inline JsonExtent MeasureJson(std::string_view text) {
  JsonExtent extent;
  extent.values = text.empty() ? 0 : 1;
  uint64_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') i++;
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    if (c == '[' || c == '{') extent.depth = std::max(extent.depth, ++depth);
    if ((c == ']' || c == '}') && depth > 0) depth--;
    if (c == ',' || c == '[' || c == '{') extent.values++;
  }
  return extent;
}

}  // namespace stillframe
