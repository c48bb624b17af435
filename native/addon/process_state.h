// State that exists only once in the process. The first addon hands it to the heap addon, which
// contains its own copy of all this code.
#pragma once

#include <mutex>

#include "memory/region.h"

namespace stillframe {

struct ProcessState {
  std::mutex* flip_lock;
  RegionMemory::RangeLister regions;
};

}  // namespace stillframe
