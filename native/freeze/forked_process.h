// A forked copy of this process, seen from the parent: the memory it uses, how it is stopped,
// and how it ended.
//
// Its life: Prepare before the fork, and Adopt right after it; then, on the supervisor's thread,
// Attach once, OwnBytes and Stop any number of times, and Collect once. The destructor stops and
// collects if that has not been done.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "child/hardening.h"
#include "image/control_block.h"

namespace stillframe {

class ForkedProcess {
 public:
  ~ForkedProcess();

  // Returns what the child needs for HardenChild(). Fails if a child could not be
  // ended or waited for.
  Result<HardeningPlan> Prepare(ControlHeader* control, int target_fd);
  void Adopt(pid_t pid, int pidfd);

  // Opens the files in /proc that a non-dumpable child no longer shows; its memory
  // only if `will_peek`.
  void Open(bool will_peek);
  // Lets the child start its work. It waits for this call.
  void LetGo();
  void Attach(bool will_peek) {
    Open(will_peek);
    LetGo();
  }
  // A killed process loses its memory first; its pidfd becomes readable later.
  bool HasMemory() const;
  // Becomes readable when the child has ended.
  int wait_fd() const { return pidfd_.get(); }
  pid_t pid() const { return pid_; }
  // Bytes of memory that no other process maps: memory that the child has allocated, and pages that
  // the service has copied since. Fails if the child's smaps_rollup may not be read, as in a
  // service that has dropped root.
  Result<uint64_t> OwnBytes() const;
  // The same, or at least the memory that the child has allocated since Open().
  Result<uint64_t> AllocatedBytes() const;
  // Reads the child's memory. Bytes that it does not have, or that we may not see,
  // come back as zeros.
  void Peek(const std::byte* address, uint64_t length, std::byte* out) const;
  // Kills the child, and waits for its end for as long as it only lacks a processor.
  void Stop();
  // Waits for the end. Success means that the child has done its work; a failure gives the reason.
  Status Collect();

 private:
  bool HasEnded() const;
  // Waits until the child has ended, and fills `info` with how. Returns 0 or -errno.
  int Reap(siginfo_t* info);
  std::optional<uint64_t> AnonymousBytes() const;
  // True if the killed child ends within the grace period. Otherwise a detached thread reaps it.
  bool EndsInTime();
  // Returns 0 if the child has not ended within this time, -errno if that cannot be determined.
  int WaitForEnd(const timespec& patience) const;
  // True if a thread of the child runs or waits for a processor. False if all of them sleep in the
  // kernel, are traced or have ended, or if they cannot be examined.
  bool Runs() const;
  Failure HowItDied(int code, int status);

  ControlHeader* control_ = nullptr;
  UniqueFd alive_read_;
  UniqueFd alive_write_;
  UniqueFd pidfd_;
  UniqueFd smaps_rollup_;  // of the child, opened while we were still allowed to read it
  UniqueFd statm_;         // used in its place; anyone may read it
  uint64_t anonymous_before_ = 0;
  UniqueFd memory_;  // of the child, opened at the same time
  pid_t pid_ = 0;
  bool stopped_ = false;  // we killed it
  std::optional<uint64_t> oom_kills_before_;
};

}  // namespace stillframe
