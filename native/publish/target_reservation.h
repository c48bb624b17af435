// Lets at most one capture of this process write to a file at a time: a second one would be
// published over the first in an arbitrary order. Captures of other processes are not seen; among
// those, the last one wins, whole.
#pragma once

#include <string>

namespace stillframe {

class TargetReservation {
 public:
  TargetReservation() = default;
  TargetReservation(const TargetReservation&) = delete;
  TargetReservation& operator=(const TargetReservation&) = delete;
  ~TargetReservation() { Release(); }

  // False if another capture holds it.
  bool Take(const std::string& identity);
  void Release();

 private:
  std::string identity_;
};

}  // namespace stillframe
