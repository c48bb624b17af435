// Destination of the bytes of an image; today it is always a file. Several savers call it at once,
// also in a forked child, so implementations neither allocate nor lock.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

class ByteSink {
 public:
  // Returns the number of bytes written, at least 1, or -errno.
  virtual int64_t Write(const std::byte* bytes, uint64_t length, uint64_t offset) = 0;
  // Announces that nothing will be written beyond `length`. This is only advice: if the sink cannot
  // follow it, the writes report the error.
  virtual void Extend(uint64_t length) = 0;
  // Descriptor that a forked child has to keep open, or -1.
  virtual int fd() const { return -1; }

 protected:
  ~ByteSink() = default;
};

}  // namespace stillframe
