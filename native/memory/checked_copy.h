// Copies into memory of somebody else, which may be read-only, or a mapping of a file that has been cut short: there the
// kernel says EFAULT, where a memcpy would end the process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stillframe {

// The bytes go through a pipe, since reading from one is a write of the kernel's, which asks before it writes. Not into
// memory of a Region: one that a capture has write-protected takes no such writes.
class CheckedCopy {
 public:
  static Result<CheckedCopy> Create();
  // On failure a part may have been copied.
  Status Copy(std::byte* to, const std::byte* from, uint64_t length) const;

 private:
  UniqueFd read_;
  UniqueFd write_;
};

}  // namespace stillframe
