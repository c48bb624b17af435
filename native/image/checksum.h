// The one checksum of the format: XXH3-64 with seed 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// Allocates nothing, takes no lock: also used in the forked child.
uint64_t Checksum(const void* data, size_t length);

// For data that comes in pieces.
class RunningChecksum {
 public:
  RunningChecksum();
  RunningChecksum(const RunningChecksum&) = delete;
  RunningChecksum& operator=(const RunningChecksum&) = delete;
  ~RunningChecksum();
  void Update(const void* data, size_t length);
  uint64_t Value() const;

 private:
  void* state_;
};

}  // namespace stillframe
