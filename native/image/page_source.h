// The frozen pages that a saver reads. Each engine in freeze/ has an implementation of its own.
//
// Only savers call it, in a thread or in a forked child, so an implementation may neither allocate
// nor lock (beyond the protocol of its engine).
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/page_copy.h"

namespace stillframe {

struct ControlHeader;

class PageSource {
 public:
  // Returns the chunk to save next, which no other saver has, or chunk_count or more if all chunks
  // are taken. By default chunks are handed out in order.
  virtual uint64_t NextChunk(ControlHeader* control, uint64_t chunk_count);
  // For a delta: true if these bytes are known to be the same as in the parent,
  // without reading them.
  virtual bool Unchanged(uint32_t section, uint64_t offset, uint64_t length) const;
  // For a source that is a private mapping of a file: true if these bytes are still
  // those of the file.
  virtual bool StillOfFile(uint32_t section, uint64_t offset, uint64_t length) const;
  // Copies [offset, offset + length) of a section, as it was at the freeze, like CopyPages(): `out`
  // must hold zeros behind a last page that is not whole. `offset` is a multiple of the block size.
  virtual void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                          CopiedPage* pages) = 0;
  // These bytes have been saved, so the memory of their frozen copy may be given back.
  virtual void Release(uint32_t section, uint64_t offset, size_t length) = 0;

 protected:
  ~PageSource() = default;
};

}  // namespace stillframe
