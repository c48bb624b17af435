// How much those who save leave to the service.
#pragma once

#include <cstdint>

namespace stillframe {

struct Pacing {
  uint64_t max_bytes_per_second = 0;  // to the file, by all savers together; 0: no limit
  int nice = 0;                       // of those who save, at least
};

}  // namespace stillframe
