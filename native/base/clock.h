// Clock readings, all in nanoseconds.
#pragma once

#include <time.h>

#include <cstdint>

namespace stillframe {

inline int64_t ClockNanoseconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}
// For durations. Monotonic.
inline int64_t MonotonicNanoseconds() { return ClockNanoseconds(CLOCK_MONOTONIC); }
// Since the epoch, for timestamps that people read.
inline int64_t WallNanoseconds() { return ClockNanoseconds(CLOCK_REALTIME); }
// CPU time of the calling thread.
inline int64_t ThreadCpuNanoseconds() { return ClockNanoseconds(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace stillframe
