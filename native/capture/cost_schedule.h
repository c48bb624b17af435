// When to measure what copy-on-write costs.
//
// The exact figure costs a walk over the page tables of the forked copy, so it is read at intervals
// in proportion to its own price. In between, the page faults of the process say how much can have
// been copied at most (each copy is one): when that comes near the limit, the exact figure is read
// at once.
#pragma once

#include <cstdint>

namespace stillframe {

class CostSchedule {
 public:
  explicit CostSchedule(uint64_t limit_bytes);

  // Whether to measure now.
  bool Due() const;
  // Called after a measurement that began at started_ns (monotonic).
  void Measured(int64_t started_ns, uint64_t bytes);
  // The last measurement and all page faults since.
  uint64_t UpperBound() const;
  bool measured() const { return measured_; }

 private:
  uint64_t limit_bytes_;
  uint64_t last_bytes_ = 0;
  uint64_t faults_at_last_;
  int64_t last_end_ns_;
  int64_t last_took_ns_ = 0;
  bool measured_ = false;
};

}  // namespace stillframe
