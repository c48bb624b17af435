// The checksum of the format: XXH3-64 with seed 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// Neither allocates nor locks, so a forked child may call it too.
uint64_t Checksum(const void* data, size_t length);

// Checksum of data that arrives in pieces.
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
