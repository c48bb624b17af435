// Checks whether the file fits on the disk. The check runs while saving begins, so that it adds
// next to nothing to the pause, and so that a disk that is too small is not filled up first.
//
// If the sources fit even with their zero pages, nothing more is done. Otherwise the frozen pages
// that are not zero are counted piece by piece, from the end, which the savers reach last. The
// capture stops as soon as they exceed the free space. Pages that can no longer be read because
// they have been saved or written to are not counted. So a capture that would have fit is never
// stopped, and the writes themselves report a shortage that this check overlooks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "freeze/engine.h"

namespace stillframe {

// Bytes that are free for this user on the filesystem of an open file. Nullopt if the filesystem
// does not report them: ramfs and many FUSE filesystems have no size, and report zeros.
std::optional<uint64_t> FreeBytes(int fd);

class SpaceCheck {
 public:
  // Must be constructed before anything is written, since written data reduces the free space.
  SpaceCheck(int target_fd, const std::vector<FreezeSource>& sources, uint64_t overhead_bytes);
  // Examines some more pieces. Fails with kNoSpace if the file cannot fit.
  Status Step(Engine* engine);
  bool finished() const { return finished_; }

 private:
  void Count(Engine* engine);

  const std::vector<FreezeSource>& sources_;
  Mapping piece_;
  uint64_t needed_bytes_;
  uint64_t free_bytes_ = 0;
  // Progress: all sources after source_ have been examined, and source_ itself from end_ on.
  size_t source_ = 0;
  uint64_t end_ = 0;
  bool finished_ = false;
};

}  // namespace stillframe
