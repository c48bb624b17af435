#include "freeze/direct_reads.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>

#include "base/small_file.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "image/direct_reader.h"

namespace stillframe {
namespace {

// Filesystem types of statfs(2) whose files may be read past the page cache without a flag that
// says so.
constexpr uint64_t kFuse = 0x65735546;
constexpr uint64_t k9p = 0x01021997;
// The descriptor limit of most processes, used if /proc does not tell.
constexpr uint64_t kDescriptorsUnknown = 1024;

std::string PathOf(int fd) {
  char path[256];
  const ssize_t length =
      readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return length < 0 ? "" : std::string(path, static_cast<size_t>(length));
}

// Event loops have descriptors of this kind, and reading the link of each takes 15 µs. So this asks
// the kernel to remove a descriptor that was never added, which only an epoll answers with ENOENT.
bool IsEpoll(int fd) {
  const UniqueFd unknown(sys::Eventfd(0, EFD_CLOEXEC));
  return unknown.valid() && epoll_ctl(fd, EPOLL_CTL_DEL, unknown.get(), nullptr) != 0 &&
         errno == ENOENT;
}

bool HasRegisteredBuffers(int ring) {
  const auto about = ReadSmallFile(("/proc/self/fdinfo/" + std::to_string(ring)).c_str());
  return about && NumberAfter(*about, "UserBufs:").value_or(0) > 0;
}

// Describes a descriptor that direct reads can come from; null for any other. `flags` are its
// flags from F_GETFL.
const char* WayOf(int fd, int flags) {
  const bool direct = (flags & O_DIRECT) != 0;
  // Skips sockets, pipes and everything else that an event loop watches, without a
  // system call for each.
  if (!direct && (flags & O_NONBLOCK) != 0) return nullptr;
  struct stat about {};
  if (sys::Fstat(fd, &about) < 0) return nullptr;
  // On a pipe, O_DIRECT means packet mode.
  if (direct && (S_ISREG(about.st_mode) || S_ISBLK(about.st_mode))) {
    return DirectReader::IsOurs(fd) ? nullptr : "is open for direct reads (O_DIRECT)";
  }
  if (S_ISREG(about.st_mode)) {
    struct statfs system {};
    if (sys::Fstatfs(fd, &system) < 0) return nullptr;
    const auto type = static_cast<uint64_t>(system.f_type);
    return type == kFuse || type == k9p
               ? "is open on a FUSE or 9p file system, which may read directly"
               : nullptr;
  }
  // Neither a file nor a socket nor a device.
  if ((about.st_mode & S_IFMT) == 0 && !IsEpoll(fd) && PathOf(fd) == "anon_inode:[io_uring]" &&
      HasRegisteredBuffers(fd)) {
    return "is an io_uring with registered buffers";
  }
  return nullptr;
}

// Decides how far to search. Since Linux 6.2, the length of /proc/self/fd is the number of open
// descriptors, so the search can stop at the last one. Otherwise it needs the size of the
// descriptor table, which is slow: the kernel produces all of /proc/self/status for it.
class Descriptors {
 public:
  Descriptors() {
    struct stat about {};
    if (sys::Fstatat(AT_FDCWD, "/proc/self/fd", &about, 0) == 0 && about.st_size > 0) {
      open_ = static_cast<uint64_t>(about.st_size);
    }
  }
  void Found() { found_++; }
  // Another thread may close descriptors meanwhile, so `open_` of them may never be found.
  bool MayBeMore(int fd) {
    if (open_) {
      if (found_ >= *open_) return false;
      if (static_cast<uint64_t>(fd) < *open_ + kGaps) return true;
    }
    if (!end_) {
      const auto status = ReadSmallFile("/proc/self/status");
      end_ = status ? NumberAfter(*status, "FDSize:").value_or(kDescriptorsUnknown)
                    : kDescriptorsUnknown;
    }
    return static_cast<uint64_t>(fd) < *end_;
  }

 private:
  static constexpr uint64_t kGaps = 256;
  std::optional<uint64_t> open_;
  std::optional<uint64_t> end_;
  uint64_t found_ = 0;
};

}  // namespace

std::string FindDirectReads() {
  Descriptors descriptors;
  for (int fd = 0; descriptors.MayBeMore(fd); fd++) {
    const int flags = sys::Fcntl(fd, F_GETFL, 0);
    if (flags < 0) continue;
    descriptors.Found();
    if ((flags & O_PATH) != 0 || (flags & O_ACCMODE) == O_WRONLY) continue;
    const char* way = WayOf(fd, flags);
    if (way == nullptr) continue;
    return "descriptor " + std::to_string(fd) + " ('" + PathOf(fd) + "') " + way;
  }
  return "";
}

}  // namespace stillframe
