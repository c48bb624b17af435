// Copies into memory that is not ours, which may be read-only or a mapping of a truncated file. For
// such memory the kernel returns EFAULT, where a memcpy would end the process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stillframe {

// The bytes go through a pipe, because reading from a pipe makes the kernel write to the memory,
// and the kernel checks it first. Not for memory of a Region: if a capture has write-protected it,
// such writes fail.
class CheckedCopy {
 public:
  static Result<CheckedCopy> Create();
  // After a failure some bytes may have been copied.
  Status Copy(std::byte* to, const std::byte* from, uint64_t length) const;

 private:
  UniqueFd read_;
  UniqueFd write_;
};

}  // namespace stillframe
