// Reads the small text files of /proc and /sys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stillframe {

// The whole file as text; nullopt if it cannot be opened or read.
std::optional<std::string> ReadSmallFile(const char* path);
// The same for an open descriptor. Reads from offset 0.
std::optional<std::string> ReadSmallFile(int fd);

// The number after `key` at the start of a line, as in "key 123 kB" or "key 123"; nullopt if there
// is no such line.
std::optional<uint64_t> NumberAfter(const std::string& text, const char* key);

}  // namespace stillframe
