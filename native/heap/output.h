// What a forked copy writes to its file: buffered, counted, and with the first error kept in the
// control block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "child/hardening.h"
#include "heap/control.h"

namespace stillframe {

class Output {
 public:
  // A pipe takes bytes in one order only; a file may be in direct mode.
  enum class Target : uint8_t { kFile, kPipe };

  Output(const HeapControl& control, const HardeningPlan& hardening, Target target)
      : Output(control, hardening, hardening.target_fd, target) {}

  // False after an error, now or earlier. Ends the process if the parent is gone or wants it to
  // end.
  bool Append(const void* bytes, size_t length);
  // Writes what is left in the buffer.
  bool Finish();
  const HeapControl& control() const { return control_; }

  // For another file, before anything is written to this one: they share the buffer and the
  // counters. Afterwards the second has to be called.
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
