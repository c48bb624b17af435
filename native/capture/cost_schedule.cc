#include "capture/cost_schedule.h"

#include <sys/resource.h>

#include <algorithm>

#include "base/clock.h"
#include "memory/page.h"

namespace stillframe {
namespace {

constexpr int64_t kRegularNs = 200'000'000;
// Rest periods as multiples of the last measurement: measuring takes at most a tenth of one core
// normally, and a quarter when the limit is near.
constexpr int64_t kRegularRest = 9;
constexpr int64_t kUrgentRest = 3;

uint64_t MinorFaults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_minflt);
}

}  // namespace

CostSchedule::CostSchedule(uint64_t limit_bytes)
    : limit_bytes_(limit_bytes),
      faults_at_last_(MinorFaults()),
      last_end_ns_(MonotonicNanoseconds()) {}

uint64_t CostSchedule::UpperBound() const {
  return last_bytes_ + (MinorFaults() - faults_at_last_) * SystemPageSize();
}

bool CostSchedule::Due() const {
  const int64_t rested = MonotonicNanoseconds() - last_end_ns_;
  const uint64_t bound = UpperBound();
  // The cost may have passed the limit, and one walk is cheaper than gigabytes of copies.
  if (bound > limit_bytes_) return true;
  if (bound > limit_bytes_ / 2) return rested >= last_took_ns_ * kUrgentRest;
  return rested >= std::max(kRegularNs, last_took_ns_ * kRegularRest);
}

void CostSchedule::Measured(int64_t started_ns, uint64_t bytes) {
  last_end_ns_ = MonotonicNanoseconds();
  last_took_ns_ = last_end_ns_ - started_ns;
  last_bytes_ = bytes;
  faults_at_last_ = MinorFaults();
  measured_ = true;
}

}  // namespace stillframe
