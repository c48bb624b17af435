// What a forked copy watches over from the inside, with a timer and a signal of its own: waits that
// cannot end, and, when it may have nobody else, its own bounds.
//
// V8's workers are parked at the fork. Other threads of the process (worker_threads above all) run
// on, and whatever they hold at that moment stays held in the copy. The copy's one thread then
// sleeps in a futex wait without a time-out. That is neither a long computation nor a slow disk:
// with nobody else there it cannot end, and one look is enough to tell. So there is no need to wait
// until the copy counts as stalled.
#pragma once

#include <atomic>
#include <cstdint>

#include "heap/control.h"

namespace stillframe {

// For a copy that outlives its service: what the supervisor would see to. 0 is no bound.
struct SelfLimits {
  uint64_t memory_bytes = 0;  // that it has taken since the fork
  int64_t timeout_ms = 0;
  int64_t stall_timeout_ms = 0;
};

// Called in the copy, once its signals have been reset. It takes SIGALRM and the process's
// real-time timer. Why the process ends is told in the control block, just before it ends with
// `status`.
void WatchOverSelf(const HeapControl& control, const SelfLimits& limits, int status);

}  // namespace stillframe
