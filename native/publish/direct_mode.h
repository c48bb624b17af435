// O_DIRECT is a wish: some filesystems take it at open and refuse it at a write, and the end of a file is no whole block.
#pragma once

#include <fcntl.h>

#include <cstdint>

#include "base/sys.h"

namespace stillframe {

// False when the descriptor was not in direct mode, or stays in it. The next write goes through the page cache.
inline bool LeaveDirectMode(int fd) {
  const int flags = sys::Fcntl(fd, F_GETFL, 0);
  if (flags < 0 || (flags & O_DIRECT) == 0) return false;
  return sys::Fcntl(fd, F_SETFL, static_cast<uint64_t>(flags & ~O_DIRECT)) == 0;
}

}  // namespace stillframe
