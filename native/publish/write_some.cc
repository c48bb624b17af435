#include "publish/write_some.h"

#include <cerrno>

#include "base/sys.h"
#include "publish/direct_mode.h"

namespace stillframe {
namespace {

// Signals are blocked in all threads that write; only a filesystem's own server
// interrupts more than once.
constexpr int kInterruptions = 100;

}  // namespace

int64_t WriteSome(int fd, const void* bytes, size_t length, uint64_t offset) {
  bool left_direct_mode = false;
  for (int interrupted = 0; interrupted < kInterruptions;) {
    const int64_t wrote = sys::Pwrite(fd, bytes, length, offset);
    if (wrote > 0) return wrote;
    if (wrote == 0) return -EIO;
    if (wrote == -EINTR) {
      interrupted++;
    } else if (wrote == -EINVAL && !left_direct_mode) {
      // Another saver may have met the refusal first and left direct mode already.
      LeaveDirectMode(fd);
      left_direct_mode = true;
    } else {
      return wrote;
    }
  }
  return -EINTR;
}

}  // namespace stillframe
