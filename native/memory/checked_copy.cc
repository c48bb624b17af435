#include "memory/checked_copy.h"

#include <fcntl.h>

#include <cerrno>

#include "base/sys.h"

namespace stillframe {

Result<CheckedCopy> CheckedCopy::Create() {
  int fds[2] = {-1, -1};
  // Nonblocking: a write takes as much as fits into the pipe, and never waits for the reader, which
  // is this same thread.
  const int error = sys::Pipe2(fds, O_CLOEXEC | O_NONBLOCK);
  if (error < 0) return SystemFailure("pipe2", -error, "cannot prepare to fill existing memory");
  CheckedCopy copy;
  copy.read_.Reset(fds[0]);
  copy.write_.Reset(fds[1]);
  return copy;
}

Status CheckedCopy::Copy(std::byte* to, const std::byte* from, uint64_t length) const {
  for (uint64_t done = 0; done < length;) {
    const int64_t wrote = sys::Write(write_.get(), from + done, length - done);
    if (wrote == -EINTR) continue;
    // The pipe is empty, so at least some bytes fit.
    if (wrote <= 0) {
      return SystemFailure("write", wrote < 0 ? static_cast<int>(-wrote) : EIO,
                           "cannot fill existing memory");
    }
    for (const uint64_t end = done + static_cast<uint64_t>(wrote); done < end;) {
      const int64_t got = sys::Read(read_.get(), to + done, end - done);
      if (got == -EINTR) continue;
      if (got <= 0) {
        return SystemFailure("read", got < 0 ? static_cast<int>(-got) : EIO,
                             "the memory to fill cannot be written");
      }
      done += static_cast<uint64_t>(got);
    }
  }
  return Success{};
}

}  // namespace stillframe
