// O_DIRECT is only a request: some filesystems accept it at open and refuse it at a write, and the
// end of a file is not a whole block.
#pragma once

#include <fcntl.h>

#include <cstdint>

#include "base/sys.h"

namespace stillframe {

// The next write goes through the page cache. False if the descriptor was not in direct mode,
// or remains in it.
inline bool LeaveDirectMode(int fd) {
  const int flags = sys::Fcntl(fd, F_GETFL, 0);
  if (flags < 0 || (flags & O_DIRECT) == 0) return false;
  return sys::Fcntl(fd, F_SETFL, static_cast<uint64_t>(flags & ~O_DIRECT)) == 0;
}

}  // namespace stillframe
