#include "publish/target_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/disabled_steps.h"
#include "publish/replaceable.h"
#include "publish/temporary_name.h"

namespace stillframe {
namespace {

constexpr int kNameTries = 16;

// Large enough to be efficient on any disk, small enough to finish soon on each.
constexpr uint64_t kSyncPiece = uint64_t{64} << 20;

// True for errors that a filesystem may return for an operation that it does not support at all:
// FUSE returns each of them, and some filesystems return EIO.
bool MayBeUnsupported(int error) {
  constexpr int kMeant[] = {-EEXIST, -ENOENT, -ENOSPC, -EDQUOT, -EROFS, -EACCES, -ENOMEM, -EBUSY};
  return error < 0 && std::find(std::begin(kMeant), std::end(kMeant), error) == std::end(kMeant);
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Failure Exists() {
  Failure failure =
      SystemFailure("linkat", EEXIST, "a file of this name exists and overwrite is false");
  failure.code = FailureCode::kExists;
  return failure;
}

std::string Octal(mode_t mode) {
  char text[16];
  snprintf(text, sizeof text, "0o%03o", static_cast<unsigned>(mode));
  return text;
}

Failure GivenUp() {
  return Fail(FailureCode::kAborted, "the capture was given up before the file was published");
}

// Opens a file in order to lock it exclusively: NFS grants such a lock only to a descriptor that
// may write. Nothing but a regular file is opened for writing, a FIFO does not block, and a link
// that someone has put there is not followed.
UniqueFd OpenToLock(int directory_fd, const char* name) {
  constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  struct stat about {};
  const bool is_file =
      sys::Fstatat(directory_fd, name, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(about.st_mode);
  UniqueFd file(is_file ? sys::Open(directory_fd, name, O_RDWR | kFlags, 0) : -EACCES);
  if (!file.valid()) file.Reset(sys::Open(directory_fd, name, O_RDONLY | kFlags, 0));
  return file;
}

}  // namespace

Result<TargetFile> TargetFile::OpenDirectory(const std::string& path,
                                             const TargetOptions& options) {
  TargetFile target;
  target.options_ = options;
  const size_t slash = path.rfind('/');
  target.name_ = path.substr(slash + 1);
  target.directory_path_ = slash == 0 ? "/" : path.substr(0, slash);
  const int fd =
      sys::Open(AT_FDCWD, target.directory_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
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

  if (Status mode = target.SetMode(); !mode.ok()) return mode.failure();
  if (!StepDisabled("o_direct")) {
    const int flags = sys::Fcntl(target.fd(), F_GETFL, 0);
    // A filesystem that does not accept it reports that here or at the first write; both are fine.
    if (flags >= 0) sys::Fcntl(target.fd(), F_SETFL, static_cast<uint64_t>(flags | O_DIRECT));
  }
  return target;
}

TargetFile::~TargetFile() { RemoveTemporary(); }

// FAT and similar filesystems have one mode for all files. Some of them refuse another
// mode, some ignore it.
Status TargetFile::SetMode() const {
  constexpr mode_t kOfOthers = 077;
  constexpr int kHasNone[] = {-EPERM, -EOPNOTSUPP, -ENOSYS, -EINVAL};
  // Exactly the requested mode, whatever the umask.
  const int set = sys::Fchmod(fd(), options_.mode);
  const bool may_have_none =
      std::find(std::begin(kHasNone), std::end(kHasNone), set) != std::end(kHasNone);
  if (set < 0 && !may_have_none) {
    return SystemFailure("fchmod", -set, "cannot set the mode of the snapshot file");
  }
  struct stat about {};
  if (const int error = sys::Fstat(fd(), &about); error < 0) {
    return SystemFailure("fstat", -error,
                         "cannot examine the file made in the snapshot's directory");
  }
  if ((about.st_mode & kOfOthers & ~options_.mode) == 0) return Success{};
  return SystemFailure("fchmod", EPERM,
                       "the file would not be as private as its mode asks: this filesystem gives "
                       "all files the mode " +
                           Octal(about.st_mode & 0777) +
                           "; mount it with umask=077, or allow that mode (option mode)");
}

Status TargetFile::CheckTarget() const {
  struct stat about {};
  const int error = sys::Fstatat(directory_.get(), name_.c_str(), &about, AT_SYMLINK_NOFOLLOW);
  if (error == -ENOENT) return Success{};
  if (error < 0)
    return SystemFailure("fstatat", -error, "cannot examine what has the snapshot's name");
  if (S_ISREG(about.st_mode)) {
    if (!options_.overwrite) return Exists();
    return CheckReplaceable(directory_.get(), name_);
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
  const int fd = sys::Open(directory_.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, options_.mode);
  // EISDIR and ENOENT: a kernel without O_TMPFILE. EOPNOTSUPP: a filesystem without it.
  if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT || fd == -EINVAL) return CreateNamed();
  if (fd < 0) return SystemFailure("open", -fd, "cannot create a file in the snapshot's directory");
  file_.Reset(fd);
  // Without locks, stale files are not swept; nothing else depends on them.
  sys::Flock(fd, LOCK_EX | LOCK_NB);
  return Success{};
}

Status TargetFile::CreateNamed() {
  if (IsAppendOnly(directory_.get())) {
    return SystemFailure("open", EPERM,
                         "the snapshot's directory is append-only, and a file that is being "
                         "written could not be removed from it (chattr -a ends it)");
  }
  for (int tries = 0; tries < kNameTries; tries++) {
    Result<std::string> random = RandomTemporaryName();
    if (!random.ok()) return random.failure();
    std::string& name = random.value();
    const int fd = sys::Open(directory_.get(), name.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, options_.mode);
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

void TargetFile::SweepStale(PublishTurn* turn) const {
  turn->Enter("looking for stale temporary files");
  const int fd = sys::Open(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return;
  DIR* listing = fdopendir(fd);
  if (listing == nullptr) {
    sys::Close(fd);
    return;
  }
  // Anyone may have put any number of such names there.
  while (const dirent* entry = turn->given_up() ? nullptr : readdir(listing)) {
    turn->Beat();
    if (!IsTemporaryName(entry->d_name) || temporary_name_ == entry->d_name) continue;
    UniqueFd stale = OpenToLock(directory_.get(), entry->d_name);
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
    Result<std::string> random = RandomTemporaryName();
    if (!random.ok()) return random.failure();
    std::string& name = random.value();
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

int TargetFile::RenameTemporary(unsigned flags) {
  const int error = sys::Renameat2(directory_.get(), temporary_name_.c_str(), directory_.get(),
                                   name_.c_str(), flags);
  if (error == 0 && flags != RENAME_EXCHANGE) temporary_name_.clear();
  return error;
}

int TargetFile::LinkTarget() {
  if (temporary_name_.empty()) {
    return sys::Linkat(AT_FDCWD, ProcPath(file_.get()).c_str(), directory_.get(), name_.c_str(),
                       AT_SYMLINK_FOLLOW);
  }
  int error = StepDisabled("link") ? -EPERM
                                   : sys::Linkat(directory_.get(), temporary_name_.c_str(),
                                                 directory_.get(), name_.c_str(), 0);
  if (error == 0) RemoveTemporary();
  if (!MayBeUnsupported(error)) return error;
  error = StepDisabled("noreplace") ? -EINVAL : RenameTemporary(RENAME_NOREPLACE);
  if (!MayBeUnsupported(error)) return error;
  return options_.overwrite ? RenameIfFree() : RenameOverPlaceholder();
}

int TargetFile::RenameIfFree() {
  struct stat about {};
  const int error = sys::Fstatat(directory_.get(), name_.c_str(), &about, AT_SYMLINK_NOFOLLOW);
  if (error == 0) return -EEXIST;
  return error == -ENOENT ? RenameTemporary(0) : error;
}

int TargetFile::RenameOverPlaceholder() {
  // O_EXCL is the only way left that never takes a name from another file.
  const int created = sys::Open(directory_.get(), name_.c_str(),
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (created < 0) return created;
  const UniqueFd placeholder(created);
  const int error = RenameTemporary(0);
  if (error < 0) sys::Unlinkat(directory_.get(), name_.c_str(), 0);
  return error;
}

Result<TargetFile::Naming> TargetFile::GiveName(PublishTurn* turn) {
  // The target may come and go between two calls, so the number of rounds is bounded.
  for (int tries = 0; tries < kNameTries; tries++) {
    int error = LinkTarget();
    if (error == 0) return Naming::kFresh;
    if (error != -EEXIST)
      return SystemFailure("linkat", -error, "cannot give the snapshot file its name");
    if (Status allowed = CheckTarget(); !allowed.ok()) return allowed.failure();
    // The file that had the name is gone again, and its successor must not be replaced either.
    if (!options_.overwrite) continue;
    if (Status linked = LinkTemporary(); !linked.ok()) return linked.failure();
    GuardOldFile();
    error = StepDisabled("exchange") ? -EINVAL : RenameTemporary(RENAME_EXCHANGE);
    if (error == 0) return Naming::kExchanged;
    if (error == -ENOENT) continue;
    if (MayBeUnsupported(error)) {
      // A filesystem that cannot exchange (NFS): the rename is still atomic, but the old file needs
      // a name to be put back from.
      KeepOldFile();
      // The disk may have taken long to report what it cannot do, and it may be too late by now.
      if (turn->given_up()) return GivenUp();
      error = RenameTemporary(0);
      if (error == 0) return Naming::kReplaced;
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
      if (!kept_name_.empty() && sys::Renameat2(directory_.get(), kept_name_.c_str(),
                                                directory_.get(), name_.c_str(), 0) == 0) {
        kept_name_.clear();
      }
      break;
  }
}

void TargetFile::KeepOldFile() {
  if (StepDisabled("link")) return;
  for (int tries = 0; tries < kNameTries && kept_name_.empty(); tries++) {
    Result<std::string> random = RandomTemporaryName();
    if (!random.ok()) return;
    const int error =
        sys::Linkat(directory_.get(), name_.c_str(), directory_.get(), random.value().c_str(), 0);
    if (error == 0) kept_name_ = std::move(random.value());
    if (error != -EEXIST) return;
  }
}

void TargetFile::GuardOldFile() {
  old_file_ = OpenToLock(directory_.get(), name_.c_str());
  // Another holder's lock serves as well.
  if (old_file_.valid()) sys::Flock(old_file_.get(), LOCK_EX | LOCK_NB);
}

void TargetFile::RemoveTemporary() {
  if (!directory_.valid()) return;
  for (std::string* name : {&temporary_name_, &kept_name_}) {
    if (!name->empty()) sys::Unlinkat(directory_.get(), name->c_str(), 0);
    name->clear();
  }
}

Status TargetFile::SyncData(PublishTurn* turn) {
  turn->Enter("bringing the file to the disk");
  // Piece by piece, so that the watcher sees progress. The file may be larger than the
  // machine's memory.
  struct stat about {};
  const int known = sys::Fstat(file_.get(), &about);
  const uint64_t length = known == 0 ? static_cast<uint64_t>(about.st_size) : 0;
  for (uint64_t at = 0; at < length && !turn->given_up(); at += kSyncPiece) {
    const int error = sys::SyncFileRange(
        file_.get(), at, kSyncPiece,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    if (error == -ENOSYS || error == -EINVAL || error == -EPERM || error == -ESPIPE) break;
    // An error that this call has reported is not reported again by fsync.
    if (error < 0) {
      return SystemFailure("sync_file_range", -error, "cannot bring the snapshot file to the disk");
    }
    turn->Beat();
  }
  // Never retried: after a failed fsync the kernel may have dropped the pages it could not write.
  if (const int error = sys::Fsync(file_.get()); error < 0) {
    return SystemFailure("fsync", -error, "cannot bring the snapshot file to the disk");
  }
  return Success{};
}

bool TargetFile::HasName(int directory_fd) const {
  struct stat ours {};
  struct stat there {};
  return sys::Fstat(file_.get(), &ours) == 0 &&
         sys::Fstatat(directory_fd, name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         SameFile(ours, there);
}

Status TargetFile::LookUnderPath() const {
  const UniqueFd now(
      sys::Open(AT_FDCWD, directory_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (now.valid() && HasName(now.get())) return Success{};
  // Another writer's next snapshot may have followed at once, and inode numbers are not stable on
  // every filesystem.
  struct stat directory {};
  struct stat opened {};
  struct stat there {};
  if (now.valid() && sys::Fstat(now.get(), &directory) == 0 &&
      sys::Fstat(directory_.get(), &opened) == 0 && SameFile(directory, opened) &&
      sys::Fstatat(now.get(), name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISREG(there.st_mode)) {
    return Success{};
  }
  return SystemFailure("open", ENOENT,
                       "the snapshot was given its name, and yet it does not stand under the path: "
                       "while it was being written the directory was moved or replaced, something "
                       "was mounted over it, or the file was removed");
}

Status TargetFile::Publish(PublishTurn* turn) {
  if (options_.durable) {
    if (Status synced = SyncData(turn); !synced.ok()) return synced;
  }
  if (turn->given_up()) return GivenUp();
  turn->Enter("giving the file its name");
  Result<Naming> naming = GiveName(turn);
  if (!naming.ok()) return naming.failure();
  if (options_.durable) {
    turn->Enter("bringing the file's name to the disk");
    const int error = sys::Fsync(directory_.get());
    // EINVAL: a filesystem whose directories cannot be synced, and need not be.
    if (error < 0 && error != -EINVAL) {
      TakeNameBack(naming.value());
      return SystemFailure("fsync", -error, "cannot bring the snapshot's name to the disk");
    }
  }
  turn->Enter("looking for the file under its path");
  if (Status there = LookUnderPath(); !there.ok()) {
    TakeNameBack(naming.value());
    return there;
  }
  if (!turn->Complete()) {
    // The disk may have delayed us for a long time, and others may have used the name since.
    if (HasName(directory_.get())) TakeNameBack(naming.value());
    return GivenUp();
  }
  RemoveTemporary();  // it names the old file, if there was one
  return Success{};
}

Result<uint64_t> AllocatedBytes(int file_fd) {
  struct stat about {};
  if (const int error = sys::Fstat(file_fd, &about); error < 0) {
    return SystemFailure("fstat", -error, "cannot examine the snapshot file");
  }
  return static_cast<uint64_t>(about.st_blocks) * 512;
}

}  // namespace stillframe
