// The output of a forked copy to its file or pipe: buffered and counted. The first error is kept in
// the control block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "child/hardening.h"
#include "heap/control.h"

namespace stillframe {

class Output {
 public:
  // A pipe takes bytes only in order. A file may be in direct mode.
  enum class Target : uint8_t { kFile, kPipe };

  Output(const HeapControl& control, const HardeningPlan& hardening, Target target)
      : Output(control, hardening, hardening.target_fd, target) {}

  // Returns false after an error, in this call or an earlier one. Ends the process if the parent is
  // gone or has asked for an abort.
  bool Append(const void* bytes, size_t length);
  // Writes the rest of the buffer.
  bool Finish();
  const HeapControl& control() const { return control_; }

  // An Output for another file, to be used before anything is written to this one: both share the
  // buffer and the counters. After its use, ForgetWhatWasWritten() has to be called.
  Output To(int fd) const { return {control_, hardening_, fd, Target::kFile}; }
  void ForgetWhatWasWritten() const;

 private:
  Output(const HeapControl& control, const HardeningPlan& hardening, int fd, Target target)
      : control_(control), hardening_(hardening), fd_(fd), target_(target) {}
  bool Flush();
  int64_t WriteSomeOf(const std::byte* bytes, size_t length, uint64_t offset) const;

  const HeapControl& control_;
  const HardeningPlan& hardening_;
  const int fd_;
  const Target target_;
  size_t used_ = 0;
  uint64_t offset_ = 0;
  bool failed_ = false;
};

}  // namespace stillframe
