#include "base/mapping.h"

#include <sys/mman.h>

#include <cstdint>
#include <string>

namespace stillframe {
namespace {

Failure MapFailure(const void* result, size_t length, const char* what_for) {
  const int error = static_cast<int>(-reinterpret_cast<int64_t>(result));
  return SystemFailure("mmap", error,
                       "cannot map " + std::to_string(length) + " bytes of memory for " + what_for);
}

// Any of these mappings may hold bytes of the host's regions at some time, and a core dump of the
// service must not contain those bytes. The advice is only a request: a kernel that does not know
// it returns an error, which is ignored.
Mapping NotDumped(void* address, size_t length) {
  sys::Madvise(address, length, MADV_DONTDUMP);
  return {address, length};
}

}  // namespace

Result<Mapping> Mapping::Anonymous(size_t length, int flags, const char* what_for) {
  void* address = sys::Mmap(nullptr, length, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  if (sys::IsError(address)) return MapFailure(address, length, what_for);
  return NotDumped(address, length);
}

Result<Mapping> Mapping::AnonymousAligned(size_t length, size_t alignment, const char* what_for) {
  // Maps too much, then unmaps the excess before and after the aligned part.
  const size_t span = length + alignment;
  void* address =
      sys::Mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sys::IsError(address)) return MapFailure(address, length, what_for);
  const auto start = reinterpret_cast<uintptr_t>(address);
  const uintptr_t aligned = (start + alignment - 1) & ~(alignment - 1);
  const uintptr_t end = start + span;
  if (aligned > start) sys::Munmap(address, aligned - start);
  if (end > aligned + length) {
    sys::Munmap(reinterpret_cast<void*>(aligned + length), end - aligned - length);
  }
  return NotDumped(reinterpret_cast<void*>(aligned), length);
}

}  // namespace stillframe
