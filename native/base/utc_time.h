// Formats a time for people and their tools.
#pragma once

#include <time.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace stillframe {

// Nanoseconds since the epoch as ISO 8601: 2026-11-29T08:56:14.123Z.
inline std::string UtcTime(int64_t wall_ns) {
  const time_t seconds = wall_ns / 1'000'000'000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  const size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(text + length, sizeof text - length, ".%03dZ",
           static_cast<int>(wall_ns / 1'000'000 % 1000));
  return text;
}

}  // namespace stillframe
