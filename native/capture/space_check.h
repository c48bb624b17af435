// Will the file fit on the disk? Asked while the saving has begun, so that it costs the pause nothing and
// a disk that is too small is not filled to the brim first.
//
// Where the sources fit as they are nothing more is done. Otherwise their pages that are not zero are
// counted, a piece at a time, and the capture stops as soon as there are more than fit. The pages are those
// of the running service and not the frozen ones, so this is a forecast: only the writes themselves know.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "freeze/engine.h"

namespace stillframe {

class SpaceCheck {
 public:
  SpaceCheck(int target_fd, const std::vector<FreezeSource>& sources, uint64_t overhead_bytes);
  // Looks at one more piece. kNoSpace when the file cannot fit.
  Status Step();
  bool finished() const { return finished_; }

 private:
  const std::vector<FreezeSource>& sources_;
  UniqueFd memory_;  // /proc/self/mem: a source that is gone meanwhile is an error, not a signal
  std::vector<std::byte> piece_;
  uint64_t needed_bytes_;
  uint64_t free_bytes_ = 0;
  size_t source_ = 0;
  uint64_t offset_ = 0;
  bool finished_ = false;
};

}  // namespace stillframe
