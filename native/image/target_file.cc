#include "image/target_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/disabled_steps.h"

namespace stillframe {
namespace {

constexpr char kTemporaryPrefix[] = ".stillframe-";
constexpr char kTemporarySuffix[] = ".tmp";
constexpr size_t kRandomBytes = 16;
constexpr int kNameTries = 16;

std::string RandomTemporaryName() {
  unsigned char random[kRandomBytes] = {};
  size_t have = 0;
  while (have < sizeof random) {
    const ssize_t got = getrandom(random + have, sizeof random - have, 0);
    if (got > 0) have += static_cast<size_t>(got);
  }
  std::string name = kTemporaryPrefix;
  for (const unsigned char byte : random) {
    char digits[3];
    snprintf(digits, sizeof digits, "%02x", byte);
    name += digits;
  }
  return name + kTemporarySuffix;
}

bool IsTemporaryName(const char* name) {
  const size_t prefix = strlen(kTemporaryPrefix);
  const size_t length = prefix + 2 * kRandomBytes + strlen(kTemporarySuffix);
  if (strlen(name) != length || strncmp(name, kTemporaryPrefix, prefix) != 0) return false;
  if (strspn(name + prefix, "0123456789abcdef") != 2 * kRandomBytes) return false;
  return strcmp(name + prefix + 2 * kRandomBytes, kTemporarySuffix) == 0;
}

std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Failure Exists() {
  Failure failure =
      SystemFailure("linkat", EEXIST, "a file of this name exists and overwrite is false");
  failure.code = FailureCode::kExists;
  return failure;
}

}  // namespace

Result<TargetFile> TargetFile::OpenDirectory(const std::string& path,
                                             const TargetOptions& options) {
  TargetFile target;
  target.options_ = options;
  const size_t slash = path.rfind('/');
  target.name_ = path.substr(slash + 1);
  const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
  const int fd = sys::Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return SystemFailure("open", -fd, "cannot open the directory of the snapshot file");
  target.directory_.Reset(fd);
  if (Status allowed = target.CheckTarget(); !allowed.ok()) return allowed.failure();
  return target;
}

Status TargetFile::Check(const std::string& path, const TargetOptions& options) {
  Result<TargetFile> target = OpenDirectory(path, options);
  if (!target.ok()) return target.failure();
  if (faccessat(target.value().directory_.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return SystemFailure("open", errno, "cannot create a file in the snapshot's directory");
  }
  return Success{};
}

Result<TargetFile> TargetFile::Open(const std::string& path, const TargetOptions& options) {
  Result<TargetFile> opened = OpenDirectory(path, options);
  if (!opened.ok()) return opened;
  TargetFile target = std::move(opened.value());

  struct stat about {};
  if (const int error = sys::Fstat(target.directory_.get(), &about); error < 0) {
    return SystemFailure("fstat", -error, "cannot examine the directory of the snapshot file");
  }
  target.identity_ =
      std::to_string(about.st_dev) + ":" + std::to_string(about.st_ino) + ":" + target.name_;

  Status created = StepDisabled("o_tmpfile") ? target.CreateNamed() : target.CreateNameless();
  if (!created.ok()) return created.failure();

  // Exactly the mode that was asked for, whatever the umask.
  if (const int error = sys::Fchmod(target.fd(), options.mode); error < 0) {
    return SystemFailure("fchmod", -error, "cannot set the mode of the snapshot file");
  }
  if (!StepDisabled("o_direct")) {
    const int flags = sys::Fcntl(target.fd(), F_GETFL, 0);
    // A filesystem that does not take it says so here or at the first write; both are fine.
    if (flags >= 0) sys::Fcntl(target.fd(), F_SETFL, static_cast<uint64_t>(flags | O_DIRECT));
  }
  return target;
}

TargetFile::~TargetFile() { RemoveTemporary(); }

Status TargetFile::CheckTarget() const {
  struct stat about {};
  const int error = sys::Fstatat(directory_.get(), name_.c_str(), &about, AT_SYMLINK_NOFOLLOW);
  if (error == -ENOENT) return Success{};
  if (error < 0)
    return SystemFailure("fstatat", -error, "cannot examine what has the snapshot's name");
  if (S_ISREG(about.st_mode)) {
    if (!options_.overwrite) return Exists();
    return Success{};
  }
  if (S_ISDIR(about.st_mode)) {
    return SystemFailure("open", EISDIR,
                         "the path names a directory; give the name of a file in it");
  }
  if (S_ISLNK(about.st_mode)) {
    return SystemFailure(
        "open", ELOOP,
        "the path names a symbolic link, which is not followed; give the path it leads to");
  }
  return SystemFailure(
      "open", EEXIST, "the path names something that is not a regular file, and would be replaced");
}

Status TargetFile::CreateNameless() {
  const int fd = sys::Open(directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, options_.mode);
  // EISDIR and ENOENT: a kernel, EOPNOTSUPP: a filesystem without O_TMPFILE.
  if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT || fd == -EINVAL) return CreateNamed();
  if (fd < 0) return SystemFailure("open", -fd, "cannot create a file in the snapshot's directory");
  file_.Reset(fd);
  // Where locks are not to be had, stale files are not swept; nothing else depends on them.
  sys::Flock(fd, LOCK_EX | LOCK_NB);
  return Success{};
}

Status TargetFile::CreateNamed() {
  for (int tries = 0; tries < kNameTries; tries++) {
    std::string name = RandomTemporaryName();
    const int fd = sys::Open(directory_.get(), name.c_str(),
                             O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, options_.mode);
    if (fd == -EEXIST) continue;
    if (fd < 0)
      return SystemFailure("open", -fd, "cannot create a file in the snapshot's directory");
    file_.Reset(fd);
    temporary_name_ = std::move(name);
    sys::Flock(fd, LOCK_EX | LOCK_NB);
    struct stat about {};
    if (const int error = sys::Fstat(fd, &about); error < 0) {
      RemoveTemporary();
      return SystemFailure("fstat", -error,
                           "cannot examine the file made in the snapshot's directory");
    }
    // A sweeper may have come between the creation and the lock.
    if (about.st_nlink > 0) return Success{};
    temporary_name_.clear();
  }
  return SystemFailure("open", EEXIST,
                       "cannot find a free temporary name in the snapshot's directory");
}

void TargetFile::SweepStale() const {
  const int fd = sys::Open(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return;
  DIR* listing = fdopendir(fd);
  if (listing == nullptr) {
    sys::Close(fd);
    return;
  }
  while (const dirent* entry = readdir(listing)) {
    if (!IsTemporaryName(entry->d_name) || temporary_name_ == entry->d_name) continue;
    // Not blocking on a FIFO, not following a link that somebody put there.
    UniqueFd stale(sys::Open(directory_.get(), entry->d_name,
                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0));
    if (!stale.valid()) continue;
    struct stat about {};
    if (sys::Fstat(stale.get(), &about) < 0 || !S_ISREG(about.st_mode)) continue;
    if (about.st_uid != geteuid()) continue;
    if (sys::Flock(stale.get(), LOCK_EX | LOCK_NB) < 0) continue;
    sys::Unlinkat(directory_.get(), entry->d_name, 0);
  }
  closedir(listing);
}

Status TargetFile::LinkTemporary() {
  if (!temporary_name_.empty()) return Success{};
  for (int tries = 0; tries < kNameTries; tries++) {
    std::string name = RandomTemporaryName();
    const int error = sys::Linkat(AT_FDCWD, ProcPath(file_.get()).c_str(), directory_.get(),
                                  name.c_str(), AT_SYMLINK_FOLLOW);
    if (error == -EEXIST) continue;
    if (error < 0) return SystemFailure("linkat", -error, "cannot name the snapshot file");
    temporary_name_ = std::move(name);
    return Success{};
  }
  return SystemFailure("linkat", EEXIST,
                       "cannot find a free temporary name in the snapshot's directory");
}

int TargetFile::LinkTarget() {
  if (temporary_name_.empty()) {
    return sys::Linkat(AT_FDCWD, ProcPath(file_.get()).c_str(), directory_.get(), name_.c_str(),
                       AT_SYMLINK_FOLLOW);
  }
  int error =
      sys::Linkat(directory_.get(), temporary_name_.c_str(), directory_.get(), name_.c_str(), 0);
  if (error == 0) {
    RemoveTemporary();
  } else if (error == -EPERM || error == -EOPNOTSUPP) {  // no hard links here
    error = sys::Renameat2(directory_.get(), temporary_name_.c_str(), directory_.get(),
                           name_.c_str(), RENAME_NOREPLACE);
    if (error == 0) temporary_name_.clear();
  }
  return error;
}

Result<TargetFile::Naming> TargetFile::GiveName() {
  // The target may come and go between two of our calls: a bounded number of rounds.
  for (int tries = 0; tries < kNameTries; tries++) {
    int error = LinkTarget();
    if (error == 0) return Naming::kFresh;
    if (error != -EEXIST)
      return SystemFailure("linkat", -error, "cannot give the snapshot file its name");
    if (Status allowed = CheckTarget(); !allowed.ok()) return allowed.failure();
    if (Status linked = LinkTemporary(); !linked.ok()) return linked.failure();
    const auto rename = [&](unsigned flags) {
      return sys::Renameat2(directory_.get(), temporary_name_.c_str(), directory_.get(),
                            name_.c_str(), flags);
    };
    GuardOldFile();
    error = StepDisabled("exchange") ? -EINVAL : rename(RENAME_EXCHANGE);
    if (error == 0) return Naming::kExchanged;
    if (error == -ENOENT) continue;
    if (error == -EINVAL || error == -ENOSYS) {
      // A filesystem that cannot exchange (NFS): atomic all the same, but not to be taken back.
      error = rename(0);
      if (error == 0) {
        temporary_name_.clear();
        return Naming::kReplaced;
      }
    }
    return SystemFailure("rename", -error, "cannot give the snapshot file its name");
  }
  return SystemFailure("rename", EBUSY, "the snapshot's name kept changing hands");
}

void TargetFile::TakeNameBack(Naming naming) {
  switch (naming) {
    case Naming::kFresh:
      sys::Unlinkat(directory_.get(), name_.c_str(), 0);
      break;
    case Naming::kExchanged:
      sys::Renameat2(directory_.get(), temporary_name_.c_str(), directory_.get(), name_.c_str(),
                     RENAME_EXCHANGE);
      break;
    case Naming::kReplaced:
      break;
  }
}

void TargetFile::GuardOldFile() {
  old_file_.Reset(sys::Open(directory_.get(), name_.c_str(),
                            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0));
  // A lock of somebody else's does as well.
  if (old_file_.valid()) sys::Flock(old_file_.get(), LOCK_EX | LOCK_NB);
}

void TargetFile::RemoveTemporary() {
  if (temporary_name_.empty() || !directory_.valid()) return;
  sys::Unlinkat(directory_.get(), temporary_name_.c_str(), 0);
  temporary_name_.clear();
}

Status TargetFile::Publish() {
  if (options_.durable) {
    // Never retried: after a failed fsync the kernel may have dropped the pages it could not write.
    if (const int error = sys::Fsync(file_.get()); error < 0) {
      return SystemFailure("fsync", -error, "cannot bring the snapshot file to the disk");
    }
  }
  Result<Naming> naming = GiveName();
  if (!naming.ok()) return naming.failure();
  if (options_.durable) {
    const int error = sys::Fsync(directory_.get());
    // EINVAL: a filesystem on which directories cannot be synced, and need not be.
    if (error < 0 && error != -EINVAL) {
      TakeNameBack(naming.value());
      return SystemFailure("fsync", -error, "cannot bring the snapshot's name to the disk");
    }
  }
  RemoveTemporary();  // under which, after an exchange, the old file is
  return Success{};
}

}  // namespace stillframe
