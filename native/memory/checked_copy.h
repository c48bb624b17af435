// Copies into memory of somebody else, which may be read-only, or a mapping of a file that has been
// cut short. For such memory the kernel answers EFAULT, where a memcpy would end the process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stillframe {

// The bytes go through a pipe, since a read from a pipe is a write by the kernel, which checks
// before it writes. Do not use it for memory of a Region: one that a capture has write-protected
// refuses such writes.
class CheckedCopy {
 public:
  static Result<CheckedCopy> Create();
  // After a failure a part may have been copied.
  Status Copy(std::byte* to, const std::byte* from, uint64_t length) const;

 private:
  UniqueFd read_;
  UniqueFd write_;
};

}  // namespace stillframe
