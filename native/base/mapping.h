// Owns one mapping. Move-only.
#pragma once

#include <cstddef>
#include <utility>

#include "base/result.h"
#include "base/sys.h"

namespace stillframe {

class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, size_t length)
      : data_(static_cast<std::byte*>(address)), length_(length) {}
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), length_(std::exchange(other.length_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this == &other) return *this;
    Unmap();
    data_ = std::exchange(other.data_, nullptr);
    length_ = std::exchange(other.length_, 0);
    return *this;
  }
  ~Mapping() { Unmap(); }

  // Anonymous memory: zero-filled, readable and writable, excluded from core dumps. `flags`
  // contains MAP_PRIVATE or MAP_SHARED, and may contain more.
  static Result<Mapping> Anonymous(size_t length, int flags, const char* what_for);
  // The same, at a multiple of `alignment` (a power of two, at least a page).
  static Result<Mapping> AnonymousAligned(size_t length, size_t alignment, const char* what_for);

  std::byte* data() const { return data_; }
  size_t length() const { return length_; }

 private:
  void Unmap() {
    if (data_ != nullptr) sys::Munmap(data_, length_);
  }
  std::byte* data_ = nullptr;
  size_t length_ = 0;
};

}  // namespace stillframe
