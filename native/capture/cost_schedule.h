// Decides when to measure the cost of copy-on-write.
//
// The exact figure requires a walk over the page tables of the forked child, so it is read at
// intervals proportional to its own cost. In between, the page faults of the process give an upper
// bound, since each copy is one fault. When the bound passes half of the limit, the exact figure is
// read more often; when it passes the limit, at once.
#pragma once

#include <cstdint>

namespace stillframe {

class CostSchedule {
 public:
  explicit CostSchedule(uint64_t limit_bytes);

  // True if it is time to measure.
  bool Due() const;
  // To be called after a measurement that began at started_ns (monotonic).
  void Measured(int64_t started_ns, uint64_t bytes);
  // In bytes: the last measurement plus all page faults since then.
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
