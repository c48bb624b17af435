// The file that a capture writes, from its creation without a name to its published name.
//
//   Open:     opens the directory once, and does everything relative to it; O_TMPFILE, so that a
//             crash leaves nothing (fallback: a random name, O_EXCL, swept later)
//   Publish:  fsync the data; give it the name; fsync the directory; check that it is at the path,
//             which may lead elsewhere by now; only then is it a success
//
// How the file gets its name: if no file has the name, the new file is linked there, which cannot
// overwrite one. If a file has it, the new file is linked under a random name, the two are
// exchanged, the directory is fsynced, and the old file is removed from the random name. Until
// everything has succeeded, the old file still exists and can be put back, so every error,
// including the last one, leaves the old file under the name.
//
// A filesystem may lack hard links, exchange, or both. Then a rename that does not replace gives
// the name. Where that is missing too, a plain rename does: over nothing, over the old file, or,
// when nothing may be overwritten, over an empty file that we have created ourselves (O_EXCL). An
// old file that cannot be exchanged first gets a second name, so that it can be put back; without
// hard links, it cannot.
//
// A temporary name is .stillframe-<32 hex digits>.tmp. The writer holds a flock() on its file, so
// that SweepStale() can recognize files of dead writers. The lock goes away with the last process
// that holds the descriptor.
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

  // `path` is absolute. Refuses a target that exists and is not a regular file: renaming over
  // a device or a symbolic link would destroy it, and writing through it is not what the
  // caller asked for.
  static Result<TargetFile> Open(const std::string& path, const TargetOptions& options);

  // Fails if Open() would refuse this path, as far as that can be told without creating a file.
  static Status Check(const std::string& path, const TargetOptions& options);

  // Open for writing, with O_DIRECT where the filesystem accepts it.
  int fd() const { return file_.get(); }
  // The only other descriptor that publishing needs.
  int directory_fd() const { return directory_.get(); }

  // Removes temporary files of dead processes from the directory. Failing to do so is no error.
  void SweepStale(PublishTurn* turn) const;

  // Publishes nothing, or takes back what it has published, if `turn` is given up
  // before it is complete.
  Status Publish(PublishTurn* turn);

  // Equal for captures of one process that have the same target: device, inode of
  // the directory, name.
  const std::string& identity() const { return identity_; }

 private:
  TargetFile() = default;
  static Result<TargetFile> OpenDirectory(const std::string& path, const TargetOptions& options);
  Status CreateNameless();
  Status CreateNamed();
  Status CheckTarget() const;
  // Gives the file a temporary name if it does not have one yet.
  Status LinkTemporary();
  // How the file got its name, which decides how the name can be given back.
  enum class Naming : uint8_t { kFresh, kExchanged, kReplaced };
  // All four return 0 or -errno. LinkTarget() gives the file its name if no file has it.
  int LinkTarget();
  int RenameIfFree();
  int RenameOverPlaceholder();
  int RenameTemporary(unsigned flags);
  Result<Naming> GiveName(PublishTurn* turn);
  void TakeNameBack(Naming naming);
  void RemoveTemporary();
  // Sets the mode of the file, and checks that the result allows others no more than that mode.
  Status SetMode() const;
  // Gives the file that has the target's name a second name, if possible.
  void KeepOldFile();
  // Locks the file that has the target's name, so that no sweep of another capture takes it for
  // stale while it has the temporary name.
  void GuardOldFile();
  Status SyncData(PublishTurn* turn);
  // True if this file has the target's name in a directory.
  bool HasName(int directory_fd) const;
  Status LookUnderPath() const;

  UniqueFd directory_;
  UniqueFd old_file_;
  UniqueFd file_;
  std::string directory_path_;  // as the caller gave it
  std::string name_;            // of the target, in the directory
  std::string temporary_name_;  // empty: the file has none
  std::string kept_name_;       // of an old file that is being replaced; empty: it has none
  std::string identity_;
  TargetOptions options_;
};

// Bytes that a file occupies on disk, without its holes.
Result<uint64_t> AllocatedBytes(int file_fd);

}  // namespace stillframe
