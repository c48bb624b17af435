#include "publish/replaceable.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/sys.h"

namespace stillframe {
namespace {

// Attributes from linux/stat.h, which cannot be included together with musl's sys/stat.h: both
// define the struct.
constexpr uint64_t kImmutable = 0x10;
constexpr uint64_t kAppend = 0x20;
constexpr uint64_t kMountRoot = 0x2000;

bool Examine(int directory_fd, const char* name, struct statx* about) {
  return sys::Statx(directory_fd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_BASIC_STATS,
                    about) == 0;
}

bool MayActAsOwner() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return true;
  return (data[0].effective >> CAP_FOWNER & 1) != 0;
}

}  // namespace

bool IsAppendOnly(int directory_fd) {
  struct statx about {};
  return Examine(directory_fd, "", &about) && (about.stx_attributes & kAppend) != 0;
}

Status CheckReplaceable(int directory_fd, const std::string& name) {
  struct statx file {};
  struct statx directory {};
  if (!Examine(directory_fd, name.c_str(), &file) || !Examine(directory_fd, "", &directory)) {
    return Success{};
  }
  if ((file.stx_attributes & kMountRoot) != 0) {
    return SystemFailure("open", EBUSY,
                         "the path names a file that is mounted by itself and cannot be replaced; "
                         "mount its directory into the container instead");
  }
  if ((file.stx_attributes & (kImmutable | kAppend)) != 0) {
    return SystemFailure("open", EPERM,
                         "the file that has the snapshot's name cannot be replaced, since it is "
                         "immutable or append-only (lsattr shows it, chattr -ia ends it)");
  }
  if ((directory.stx_attributes & kAppend) != 0) {
    return SystemFailure("open", EPERM,
                         "no file in the snapshot's directory can be replaced, since that is "
                         "append-only (chattr -a ends it); choose a new name or another directory");
  }
  const uid_t user = geteuid();
  if ((directory.stx_mode & S_ISVTX) != 0 && file.stx_uid != user && directory.stx_uid != user &&
      !MayActAsOwner()) {
    return SystemFailure("open", EPERM,
                         "the file that has the snapshot's name belongs to another user, and only "
                         "its owner may replace it in this directory (sticky bit)");
  }
  return Success{};
}

}  // namespace stillframe
