// Page sizes of the system. The file format has its own page size (image/format.h), which is the
// same on every machine.
#pragma once

#include <unistd.h>

#include <cstddef>

namespace stillframe {

// 2 MiB on x64, and on arm64 with 4 KiB pages.
inline constexpr size_t kHugePageSize = size_t{2} << 20;

inline size_t SystemPageSize() {
  static const auto size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace stillframe
