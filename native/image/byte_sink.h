// Where the bytes of an image go: a file, today. Called by several savers at once, also in a forked child: no allocation,
// no lock.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

class ByteSink {
 public:
  // Bytes written, at least 1, or -errno.
  virtual int64_t Write(const std::byte* bytes, uint64_t length, uint64_t offset) = 0;
  // Nothing will lie behind `length`. Advice: where it cannot be taken the writes say so.
  virtual void Extend(uint64_t length) = 0;
  // The descriptor that a forked child has to keep; -1: none.
  virtual int fd() const { return -1; }

 protected:
  ~ByteSink() = default;
};

}  // namespace stillframe
