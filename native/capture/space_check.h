// Will the file fit on the disk? Asked while the saving has begun, so that it costs the pause next to nothing and
// a disk that is too small is not filled to the brim first.
//
// Where the sources fit as they are nothing more is done. Otherwise the frozen pages that are not zero are counted,
// a piece at a time and from the end, where the savers come last, and the capture stops as soon as there are more
// than fit. What cannot be seen any more, since it has been saved or written, is not counted: no capture is stopped
// that would have fitted, and for what is overlooked there are the errors of the writes themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "freeze/engine.h"

namespace stillframe {

// What is free for this user on the filesystem of an open file. Nothing where the filesystem does not say: ramfs and
// many of FUSE have no size, and answer with zeros.
std::optional<uint64_t> FreeBytes(int fd);

class SpaceCheck {
 public:
  // Before anything is written: what has been written is not free any more.
  SpaceCheck(int target_fd, const std::vector<FreezeSource>& sources, uint64_t overhead_bytes);
  // Looks at one more piece. kNoSpace when the file cannot fit.
  Status Step(Engine* engine);
  bool finished() const { return finished_; }

 private:
  void Count(Engine* engine);

  const std::vector<FreezeSource>& sources_;
  Mapping piece_;
  uint64_t needed_bytes_;
  uint64_t free_bytes_ = 0;
  // What has been looked at: all sources from source_ on, and of the one before all from end_ on.
  size_t source_ = 0;
  uint64_t end_ = 0;
  bool finished_ = false;
};

}  // namespace stillframe
