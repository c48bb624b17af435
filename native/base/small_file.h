// Reads the small text files of /proc and /sys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stillframe {

// The whole file as text; nothing if it cannot be opened or read.
std::optional<std::string> ReadSmallFile(const char* path);
// The same from an open descriptor, from offset 0.
std::optional<std::string> ReadSmallFile(int fd);

// The number after "key" in lines of the form "key 123 kB" or "key 123"; nothing if there is no
// such line.
std::optional<uint64_t> NumberAfter(const std::string& text, const char* key);

}  // namespace stillframe
