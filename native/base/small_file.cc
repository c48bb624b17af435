#include "base/small_file.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"

namespace stillframe {

std::optional<std::string> ReadSmallFile(const char* path) {
  UniqueFd fd(sys::Open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
  if (!fd.valid()) return std::nullopt;
  return ReadSmallFile(fd.get());
}

std::optional<std::string> ReadSmallFile(int fd) {
  std::string text;
  char buffer[16384];
  for (;;) {
    const int64_t got = sys::Pread(fd, buffer, sizeof buffer, text.size());
    if (got == -EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

std::optional<uint64_t> NumberAfter(const std::string& text, const char* key) {
  const size_t key_length = strlen(key);
  for (size_t line = 0; line < text.size();) {
    if (text.compare(line, key_length, key) == 0) {
      const char* start = text.c_str() + line + key_length;
      char* end = nullptr;
      const uint64_t number = strtoull(start, &end, 10);
      if (end != start) return number;
    }
    const size_t next = text.find('\n', line);
    if (next == std::string::npos) break;
    line = next + 1;
  }
  return std::nullopt;
}

}  // namespace stillframe
