// Will the file fit on the disk? The question is asked while the saving begins, so that it costs
// the pause next to nothing, and so that a disk that is too small is not filled to the brim first.
//
// If the sources fit as they are, nothing more is done. Otherwise the frozen pages that are not
// zero are counted, a piece at a time and from the end, which the savers reach last, and the
// capture stops as soon as there are more than fit. Pages that can no longer be seen, since they
// have been saved or written, are not counted: so no capture is stopped that would have fitted, and
// errors of the writes themselves catch what is overlooked.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "freeze/engine.h"

namespace stillframe {

// What is free for this user on the filesystem of an open file. Nothing if the filesystem does not
// say: ramfs and many FUSE filesystems have no size, and answer with zeros.
std::optional<uint64_t> FreeBytes(int fd);

class SpaceCheck {
 public:
  // Called before anything is written: what has been written is not free any more.
  SpaceCheck(int target_fd, const std::vector<FreezeSource>& sources, uint64_t overhead_bytes);
  // Looks at one more piece. kNoSpace if the file cannot fit.
  Status Step(Engine* engine);
  bool finished() const { return finished_; }

 private:
  void Count(Engine* engine);

  const std::vector<FreezeSource>& sources_;
  Mapping piece_;
  uint64_t needed_bytes_;
  uint64_t free_bytes_ = 0;
  // What has been looked at: all sources from source_ on, and everything from end_ on of the one
  // before.
  size_t source_ = 0;
  uint64_t end_ = 0;
  bool finished_ = false;
};

}  // namespace stillframe
