// Parses /proc/PID/statm. Allocates nothing, since a signal handler uses it too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "memory/page.h"

namespace stillframe {

// All figures in bytes.
struct Statm {
  uint64_t size;
  uint64_t resident;
  uint64_t shared;  // the resident part backed by files or shared memory
  uint64_t anonymous() const { return resident - std::min(resident, shared); }
};

inline std::optional<Statm> ParseStatm(const char* text, size_t length) {
  uint64_t pages[3] = {};
  size_t field = 0;
  for (size_t i = 0; i < length && field < 3; i++) {
    if (text[i] == ' ') {
      field++;
    } else if (text[i] < '0' || text[i] > '9') {
      return std::nullopt;
    } else {
      pages[field] = pages[field] * 10 + static_cast<uint64_t>(text[i] - '0');
    }
  }
  if (field < 3) return std::nullopt;
  const uint64_t page = SystemPageSize();
  return Statm{pages[0] * page, pages[1] * page, pages[2] * page};
}

}  // namespace stillframe
