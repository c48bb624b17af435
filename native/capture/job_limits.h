// What ends a job before its time.
#pragma once

#include <cstdint>

#include "freeze/engine.h"
#include "memory/available_memory.h"

namespace stillframe {

struct JobLimits {
  uint64_t memory_limit = 0;  // bytes that copy-on-write and the copy may take; 0: the default
  AtLimit at_limit = AtLimit::kWait;
  int64_t stall_timeout_ms = 0;  // without progress
  int64_t timeout_ms = 0;        // in all; 0: none

  uint64_t MemoryLimit() const {
    return memory_limit != 0 ? memory_limit : RecentlyAvailableMemory() / 2;
  }
};

}  // namespace stillframe
