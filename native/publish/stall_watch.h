// Notices that work has stopped making progress.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace stillframe {

// How often whoever watches looks: short, since a fast writer copies 10 MB in that time, and yet
// long enough to cost nothing.
inline constexpr int64_t kWatchTickNs = 20'000'000;

class StallWatch {
 public:
  explicit StallWatch(int64_t timeout_ms)
      : timeout_ms_(timeout_ms), last_look_ns_(MonotonicNanoseconds()) {}

  // To be called once a tick: kStalled if the heartbeat has not changed for so long. Only time in which we ran ourselves
  // counts: a service that was stopped as a whole is not stuck.
  Status Check(uint64_t heartbeat, const char* step) {
    const int64_t now_ns = MonotonicNanoseconds();
    silent_ns_ += std::min(now_ns - last_look_ns_, 4 * kWatchTickNs);
    last_look_ns_ = now_ns;
    if (heartbeat != last_heartbeat_) {
      last_heartbeat_ = heartbeat;
      silent_ns_ = 0;
    }
    if (silent_ns_ <= timeout_ms_ * 1'000'000) return Success{};
    return Fail(FailureCode::kStalled, "no progress for " + std::to_string(timeout_ms_) +
                                           " ms while " + step + " (stallTimeoutMs)");
  }

 private:
  int64_t timeout_ms_;
  int64_t last_look_ns_;
  int64_t silent_ns_ = 0;
  uint64_t last_heartbeat_ = 0;
};

}  // namespace stillframe
