// What a saver reads: frozen pages. Each engine in freeze/ implements it in its own way.
//
// Both functions are called by savers only, in a thread or in a forked child, so an implementation may
// neither allocate nor lock (beyond its engine's own protocol).
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

class PageSource {
 public:
  // Copies [offset, offset + length) of a section, as it was at the freeze.
  virtual void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) = 0;
  // These bytes are saved: whatever their frozen copy costs may be given back.
  virtual void Release(uint32_t section, uint64_t offset, size_t length) = 0;

 protected:
  ~PageSource() = default;
};

}  // namespace stillframe
