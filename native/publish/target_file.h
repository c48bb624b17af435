// The file that a capture writes, from its nameless beginning to its published name.
//
//   Open:     the directory is opened once, and everything happens relative to it; O_TMPFILE, so that a
//             crash leaves nothing (fallback: a random name, O_EXCL, swept later)
//   Publish:  fsync the data; give it the name; fsync the directory; look whether it stands under the path, which may
//             lead elsewhere by now; and only then is it a success
//
// How it gets the name. When no file has it: link, which cannot overwrite. When one has: link under a
// random name, exchange the two, fsync the directory, remove the old file from the random name. Until
// all has succeeded the old file still exists and can be put back, so that every error, the last
// one included, leaves the old file under the name.
//
// A filesystem may have no hard links, no exchange, or neither. Then a rename that does not replace gives the name,
// and where that is missing too plain rename: over nothing, over the old file, or, when nothing may be overwritten,
// over an empty file that we have made ourselves (O_EXCL). An old file that cannot be exchanged gets a second name
// before, so that it can be put back; only where there are no hard links either it cannot.
//
// A temporary name is .stillframe-<32 hex digits>.tmp, its file flock()ed by whoever writes it, so that
// SweepStale() can tell the dead ones. The lock goes with the last process that holds the descriptor.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "publish/publish_turn.h"

namespace stillframe {

struct TargetOptions {
  bool overwrite = true;
  mode_t mode = 0600;
  bool durable = true;
};

struct TargetPlan {
  std::string path;  // absolute
  TargetOptions options;
};

class TargetFile {
 public:
  TargetFile(TargetFile&&) noexcept = default;
  TargetFile& operator=(TargetFile&&) = delete;
  ~TargetFile();

  // path: absolute. Refuses a target that exists and is not a regular file: renaming over a device or a
  // symbolic link would destroy it, writing through it is not what was asked for.
  static Result<TargetFile> Open(const std::string& path, const TargetOptions& options);

  // Whether Open() would refuse this path, as far as that can be told without making a file.
  static Status Check(const std::string& path, const TargetOptions& options);

  // Open for writing; O_DIRECT where the filesystem takes it.
  int fd() const { return file_.get(); }
  // All that publishing needs beside it.
  int directory_fd() const { return directory_.get(); }

  // Removes temporary files of dead processes from the directory. Failing to is no error.
  void SweepStale(PublishTurn* turn) const;

  // Publishes nothing, or takes back what it has, when `turn` is given up before it is complete.
  Status Publish(PublishTurn* turn);

  // Tells captures of one process whether they have the same target: device, inode of the directory, name.
  const std::string& identity() const { return identity_; }

 private:
  TargetFile() = default;
  static Result<TargetFile> OpenDirectory(const std::string& path, const TargetOptions& options);
  Status CreateNameless();
  Status CreateNamed();
  Status CheckTarget() const;
  // Makes the file reachable under a temporary name, if it is not yet.
  Status LinkTemporary();
  // How the name was got decides how it can be given back.
  enum class Naming : uint8_t { kFresh, kExchanged, kReplaced };
  // All four return 0 or -errno. The first gives the file its name if nothing has it.
  int LinkTarget();
  int RenameIfFree();
  int RenameOverPlaceholder();
  int RenameTemporary(unsigned flags);
  Result<Naming> GiveName(PublishTurn* turn);
  void TakeNameBack(Naming naming);
  void RemoveTemporary();
  // Gives the file its mode, and sees whether it has none that allows others more.
  Status SetMode() const;
  // Gives what has the target's name a second one, if that can be had.
  void KeepOldFile();
  // Holds a lock on the file that has the target's name, so that no sweep of another capture takes it for a
  // dead one while it stands under the temporary name.
  void GuardOldFile();
  Status SyncData(PublishTurn* turn);
  // Whether what has the target's name in a directory is this file.
  bool HasName(int directory_fd) const;
  Status LookUnderPath() const;

  UniqueFd directory_;
  UniqueFd old_file_;
  UniqueFd file_;
  std::string directory_path_;  // as it was given
  std::string name_;            // of the target, in the directory
  std::string temporary_name_;  // empty: the file has none
  std::string kept_name_;       // of an old file that is being replaced; empty: it has none
  std::string identity_;
  TargetOptions options_;
};

// What a file takes on the disk: holes do not count.
Result<uint64_t> AllocatedBytes(int file_fd);

}  // namespace stillframe
