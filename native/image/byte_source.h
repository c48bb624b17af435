// Source of the bytes of an image: a file, or ranges that a RangeReader fetches. Several threads
// call it at once, for runs of blocks rather than for single pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace stillframe {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  virtual uint64_t length() const = 0;
  virtual uint64_t allocated_bytes() const = 0;  // storage that it occupies, without holes
  // Reads all of these bytes. Fails with kCorrupt, for `section`, if the source ends before them.
  virtual Status Read(std::byte* out, uint64_t length, uint64_t offset,
                      const std::string& section) const = 0;
  // Like Read(), for large reads, which a source may handle in a faster way.
  virtual Status ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                          const std::string& section) const = 0;
  // Number of concurrent reads that hides the latency of each read, or 0 if only the
  // number of processors matters.
  virtual size_t reads_at_once() const { return 0; }
  // Announces that much of the source will be read.
  virtual void PrepareForMuch() {}
  // The first position from `offset` on, before `end`, that is in a hole or in data, respectively;
  // `end` if there is none. A source that cannot find holes reports none.
  virtual uint64_t NextHole(uint64_t offset, uint64_t end) const = 0;
  virtual uint64_t NextData(uint64_t offset, uint64_t end) const = 0;
  // Descriptor that can be mapped, or -1.
  virtual int fd() const { return -1; }
};

}  // namespace stillframe
