// Memory whose pages come when they are touched: a thread that touches one that is not there waits in the kernel, which
// tells of it here, until the page is filled.
//
// Where the process may not see faults of the kernel, only the program's own accesses wait: a system call into a page that
// is not there fails with EFAULT.
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
  // kEngineUnavailable where there is none.
  static Result<std::unique_ptr<MissingPages>> Create();
  ~MissingPages() { End(); }

  // Whole pages, none of which was ever touched.
  Status Register(std::byte* start, size_t length);
  // Waits for the next touch of a page that is not there. None after Stop(), and when touches cannot be learned of any more:
  // then `failed()`.
  std::optional<std::byte*> NextTouch();
  bool failed() const { return failed_; }
  void Stop();

  // The bytes of pages that are not there yet, which whoever waits for them then sees; of those that are there already
  // nothing is changed. From any thread. 0, or -errno.
  int Fill(std::byte* to, const std::byte* from, size_t length);
  int FillWithZeros(std::byte* to, size_t length);
  // Lets go whoever waits for a page that has come meanwhile.
  void Wake(std::byte* start, size_t length);

  // From now on what is not there is zero, and nobody waits. Idempotent.
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
