// Notices when work has stopped making progress.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace stillframe {

// Interval between two looks of a watcher: short, because a fast writer copies 10 MB in that time,
// yet long enough to cost nothing.
inline constexpr int64_t kWatchTickNs = 20'000'000;

// The failure of a job that has made no progress for this long.
inline Failure NoProgress(int64_t timeout_ms, const char* step) {
  return Fail(FailureCode::kStalled, "no progress for " + std::to_string(timeout_ms) +
                                         " ms while " + step + " (stallTimeoutMs)");
}

// The failure of a job whose time is up.
inline Failure NotDone(int64_t timeout_ms, const char* step) {
  return Fail(FailureCode::kStalled, "not done after " + std::to_string(timeout_ms) +
                                         " ms, while " + step + " (timeoutMs)");
}

class StallWatch {
 public:
  explicit StallWatch(int64_t timeout_ms, int64_t tick_ns = kWatchTickNs)
      : timeout_ms_(timeout_ms), tick_ns_(tick_ns), last_look_ns_(MonotonicNanoseconds()) {}

  // Called once a tick. kStalled if the heartbeat has not changed within the timeout.
  Status Check(uint64_t heartbeat, const char* step) {
    if (!IsStuck(heartbeat)) return Success{};
    return NoProgress(timeout_ms_, step);
  }

  // The same for a signal handler: it allocates nothing. Only time in which this process ran
  // counts, since a service that was stopped as a whole is not stuck.
  bool IsStuck(uint64_t heartbeat) {
    const int64_t now_ns = MonotonicNanoseconds();
    silent_ns_ += std::min(now_ns - last_look_ns_, 4 * tick_ns_);
    last_look_ns_ = now_ns;
    if (heartbeat != last_heartbeat_) {
      last_heartbeat_ = heartbeat;
      silent_ns_ = 0;
    }
    return silent_ns_ > timeout_ms_ * 1'000'000;
  }

 private:
  int64_t timeout_ms_;
  int64_t tick_ns_;
  int64_t last_look_ns_;
  int64_t silent_ns_ = 0;
  uint64_t last_heartbeat_ = 0;
};

}  // namespace stillframe
