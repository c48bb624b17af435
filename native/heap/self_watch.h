// Watches over a forked copy from inside, with a timer and a signal of its own: for waits that
// cannot end and, in a copy that may have no supervisor, for the bounds of the job.
//
// V8's workers are parked at the fork. Other threads of the process (above all those of
// worker_threads) keep running, and a lock that one of them holds at that moment stays locked in
// the copy. The copy's only thread then sleeps in a futex wait without a timeout. This is neither a
// long computation nor a slow disk: without other threads the wait cannot end, and a single look is
// enough to tell. So there is no need to wait until the copy counts as stalled.
#pragma once

#include <atomic>
#include <cstdint>

#include "heap/control.h"

namespace stillframe {

// For a copy that outlives its service: the bounds that the supervisor would enforce. 0 is no
// bound.
struct SelfLimits {
  uint64_t memory_bytes = 0;  // taken since the fork
  int64_t timeout_ms = 0;
  int64_t stall_timeout_ms = 0;
};

// Called in the copy after its signals have been reset. Takes over SIGALRM and the process's
// real-time timer. When it ends the process, with `status`, it first stores the reason in the
// control block.
void WatchOverSelf(const HeapControl& control, const SelfLimits& limits, int status);

}  // namespace stillframe
