// A forked copy of this process, seen from the parent: what it takes, how it is stopped, how it
// ended.
//
// Its life is this: Prepare before the fork, and Adopt right after it; then, on the supervisor's
// thread, Attach once, OwnBytes and Stop as often as wanted, and Collect once. The destructor stops
// and collects whatever has not been.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "child/hardening.h"
#include "image/control_block.h"

namespace stillframe {

class ForkedProcess {
 public:
  ~ForkedProcess();

  // What the child needs for HardenChild(). Refuses if a child could not be ended or waited for.
  Result<HardeningPlan> Prepare(ControlHeader* control, int target_fd);
  void Adopt(pid_t pid, int pidfd);

  // Opens what a child that is not dumpable would no longer show; its memory only on request.
  void Open(bool will_peek);
  // It waits until then.
  void LetGo();
  // Both.
  void Attach(bool will_peek) {
    Open(will_peek);
    LetGo();
  }
  // A process that is killed loses its memory first, and its pidfd becomes readable later.
  bool HasMemory() const;
  // Becomes readable when the child has ended.
  int wait_fd() const { return pidfd_.get(); }
  pid_t pid() const { return pid_; }
  // Bytes of memory that nobody else maps: what the child has allocated, and what the service has
  // copied since.
  Result<uint64_t> OwnBytes();
  // Reads the child's memory; what it does not have, or we may not see, comes back as zeros.
  void Peek(const std::byte* address, uint64_t length, std::byte* out) const;
  void Stop();
  // Waits for the end. Success means that the child has done its work; otherwise it is the reason.
  Status Collect();

 private:
  bool HasEnded() const;
  // Waits until the child has ended, and learns how. 0, or -errno.
  int Reap(siginfo_t* info);
  // For when smaps_rollup may not be read, as in a service that has dropped root: what the child
  // has allocated since Attach. It does not include what the service has copied since.
  Result<uint64_t> Grown() const;
  std::optional<uint64_t> AnonymousBytes() const;
  // Whether the killed child ends within the grace period. If not, it is left to a thread that
  // reaps it.
  bool EndsInTime();
  Failure HowItDied(int code, int status);

  ControlHeader* control_ = nullptr;
  UniqueFd alive_read_;
  UniqueFd alive_write_;
  UniqueFd pidfd_;
  UniqueFd smaps_rollup_;  // the child's, opened while it was still readable for us
  UniqueFd statm_;         // in its place; anybody may read it
  uint64_t anonymous_before_ = 0;
  UniqueFd memory_;  // likewise
  pid_t pid_ = 0;
  bool stopped_ = false;  // we killed it
  std::optional<uint64_t> oom_kills_before_;
};

}  // namespace stillframe
