// What the process has only one of, handed from the first addon to the second, which has all of
// this code for itself.
#pragma once

#include <mutex>

#include "memory/region.h"

namespace stillframe {

struct ProcessState {
  std::mutex* flip_lock;
  RegionMemory::RangeLister regions;
};

}  // namespace stillframe
