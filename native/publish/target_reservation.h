// At most one capture of this process writes to a file at a time: the second would be published
// over the first in an order that nobody chose. Captures of other processes are not seen; there the
// last one wins, whole.
#pragma once

#include <string>

namespace stillframe {

class TargetReservation {
 public:
  TargetReservation() = default;
  TargetReservation(const TargetReservation&) = delete;
  TargetReservation& operator=(const TargetReservation&) = delete;
  ~TargetReservation() { Release(); }

  // False if somebody else holds it.
  bool Take(const std::string& identity);
  void Release();

 private:
  std::string identity_;
};

}  // namespace stillframe
