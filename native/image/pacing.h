// How far savers hold back in favor of the service.
#pragma once

#include <cstdint>

namespace stillframe {

struct Pacing {
  uint64_t max_bytes_per_second = 0;  // written to the file by all savers together; 0: no limit
  int nice = 0;                       // minimum niceness of the saver threads
};

}  // namespace stillframe
