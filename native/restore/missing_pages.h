// Memory whose pages are filled when they are touched. A thread that touches a missing page waits
// in the kernel, which reports the touch here, until the page is filled.
//
// Where the process may not see faults of the kernel, only the program's own accesses wait: a
// system call that uses a missing page fails with EFAULT.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stillframe {

class MissingPages {
 public:
  // kEngineUnavailable if there is no userfaultfd, or if it is not allowed.
  static Result<std::unique_ptr<MissingPages>> Create();
  ~MissingPages() { End(); }

  // Whole pages that were never touched.
  Status Register(std::byte* start, size_t length);
  // Waits for the next touch of a missing page. Empty after Stop(), and when touches can no longer
  // be read; only then is failed() true.
  std::optional<std::byte*> NextTouch();
  bool failed() const { return failed_; }
  void Stop();

  // Fills pages that are missing, and wakes the threads that wait for them; pages that are already
  // there do not change. Called from any thread. Returns 0 or -errno.
  int Fill(std::byte* to, const std::byte* from, size_t length);
  int FillWithZeros(std::byte* to, size_t length);
  // Wakes the threads that wait for a page that has been filled meanwhile.
  void Wake(std::byte* start, size_t length);

  // From now on missing pages are zero, and no thread waits. Idempotent.
  void End();

 private:
  MissingPages() = default;
  struct Range {
    std::byte* start;
    size_t length;
  };
  UniqueFd faults_;
  UniqueFd stop_;  // an eventfd
  bool failed_ = false;
  std::vector<Range> registered_;
};

}  // namespace stillframe
