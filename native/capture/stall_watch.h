// Notices that the savers have stopped making progress.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace stillframe {

class StallWatch {
 public:
  // tick_ns is about how often Silent() is called.
  explicit StallWatch(int64_t tick_ns) : tick_ns_(tick_ns), last_look_ns_(MonotonicNanoseconds()) {}

  // Nanoseconds since the heartbeat changed. Only time in which we ran ourselves counts: a service
  // that was stopped as a whole is not stuck.
  int64_t Silent(uint64_t heartbeat) {
    const int64_t now_ns = MonotonicNanoseconds();
    silent_ns_ += std::min(now_ns - last_look_ns_, 4 * tick_ns_);
    last_look_ns_ = now_ns;
    if (heartbeat != last_heartbeat_) {
      last_heartbeat_ = heartbeat;
      silent_ns_ = 0;
    }
    return silent_ns_;
  }

 private:
  int64_t tick_ns_;
  int64_t last_look_ns_;
  int64_t silent_ns_ = 0;
  uint64_t last_heartbeat_ = 0;
};

}  // namespace stillframe
