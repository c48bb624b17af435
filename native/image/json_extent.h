// How much a text of JSON would make of itself in JavaScript, told without parsing it: where 64 MiB of brackets would
// stop a service for seconds and take gigabytes, one look over the bytes says so.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace stillframe {

struct JsonExtent {
  uint64_t values = 0;  // at most so many, keys not counted
  uint64_t depth = 0;   // of arrays and objects within each other
};

// Of text that is no JSON it says something, too.
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
