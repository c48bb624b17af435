// Shared by one job that reads a file and the threads that wait for it.
#pragma once

#include <atomic>
#include <cstdint>

namespace stillframe {

struct ReadControl {
  std::atomic<bool> cancelled{false};
  std::atomic<uint64_t> bytes_done{0};
  std::atomic<uint64_t> bytes_total{0};
};

}  // namespace stillframe
