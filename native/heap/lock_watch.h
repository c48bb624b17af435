// Ends a forked copy that waits for a lock which nobody will ever release.
//
// V8's workers are parked at the fork. Other threads of the process (worker_threads above all) run
// on, and whatever they hold at that moment stays held in the copy. The copy's one thread then
// sleeps in a futex wait without a time-out. That is neither a long computation nor a slow disk:
// with nobody else there it cannot end, and one look is enough to tell. So there is no need to wait
// until the copy counts as stalled.
#pragma once

#include <atomic>
#include <cstdint>

namespace stillframe {

// Called in the copy, once its signals have been reset. It takes SIGALRM and the process's
// real-time timer. `told` is set to 1 just before the process ends with `status`.
void EndWhenWaitingForEver(std::atomic<uint32_t>* told, int status);

}  // namespace stillframe
