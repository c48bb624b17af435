// The bytes of an image, wherever they lie: a file, today. Called by several threads at once, for runs of blocks rather
// than for pages.
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
  virtual uint64_t allocated_bytes() const = 0;  // that it takes where it lies, without holes
  // All of these bytes. kCorrupt, in `section`, when it ends before.
  virtual Status Read(std::byte* out, uint64_t length, uint64_t offset,
                      const std::string& section) const = 0;
  // The same for much at once, which may have a faster way.
  virtual Status ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                          const std::string& section) const = 0;
  // So many reads at a time hide how long each of them takes; 0: it depends on the processors alone.
  virtual size_t reads_at_once() const { return 0; }
  // Much of it is going to be read.
  virtual void PrepareForMuch() {}
  // The first byte from `offset` on, before `end`, that lies in a hole, or that does not: `end` when there is none.
  // Where holes cannot be found there are none.
  virtual uint64_t NextHole(uint64_t offset, uint64_t end) const = 0;
  virtual uint64_t NextData(uint64_t offset, uint64_t end) const = 0;
  // What can be mapped; -1 when nothing can.
  virtual int fd() const { return -1; }
};

}  // namespace stillframe
