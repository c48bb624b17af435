// What a saver reads: frozen pages. Each engine in freeze/ implements it in its own way.
//
// All of it is called by savers only, in a thread or in a forked child, so an implementation may neither
// allocate nor lock (beyond its engine's own protocol).
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

struct ControlHeader;

class PageSource {
 public:
  // The chunk to save next, one that no other saver has; chunk_count or more when all are taken. By default
  // one after the other.
  virtual uint64_t NextChunk(ControlHeader* control, uint64_t chunk_count);
  // Of a delta: whether these bytes are known to be as in the parent, without a look at them.
  virtual bool Unchanged(uint32_t section, uint64_t offset, uint64_t length) const;
  // Whether these bytes, of a source that is a private mapping of a file, are the file's still.
  virtual bool StillOfFile(uint32_t section, uint64_t offset, uint64_t length) const;
  // Copies [offset, offset + length) of a section, as it was at the freeze.
  virtual void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) = 0;
  // These bytes are saved: whatever their frozen copy costs may be given back.
  virtual void Release(uint32_t section, uint64_t offset, size_t length) = 0;

 protected:
  ~PageSource() = default;
};

}  // namespace stillframe
