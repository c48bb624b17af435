// Ends a forked copy that waits for a lock which nobody will ever release.
//
// V8's workers are parked at the fork; other threads of the process (worker_threads above all) run on, and what they hold
// just then stays held in the copy. Its one thread then sleeps in a futex wait without a time-out. That is no long
// computation and no slow disk: with nobody else there it cannot end, and one look is enough to tell. So the copy need not
// be waited for until it counts as stalled.
#pragma once

#include <atomic>
#include <cstdint>

namespace stillframe {

// In the copy, once its signals have been reset. Takes SIGALRM and the process's real-time timer. `told` is set to 1 just
// before the process ends with `status`.
void EndWhenWaitingForEver(std::atomic<uint32_t>* told, int status);

}  // namespace stillframe
