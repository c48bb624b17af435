// Limits that end a job early.
#pragma once

#include <cstdint>

#include "freeze/engine.h"
#include "memory/available_memory.h"

namespace stillframe {

struct JobLimits {
  uint64_t memory_limit = 0;  // bytes for copy-on-write and the forked copy; 0: default
  AtLimit at_limit = AtLimit::kWait;
  int64_t stall_timeout_ms = 0;  // time without progress
  int64_t timeout_ms = 0;        // total time; 0: none

  uint64_t MemoryLimit() const {
    return memory_limit != 0 ? memory_limit : RecentlyAvailableMemory() / 2;
  }
};

}  // namespace stillframe
