// The K largest of the items offered, in an array of K.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace stillframe {

struct Sized {
  uint64_t bytes = 0;
  uintptr_t address = 0;
  uintptr_t identity = 0;  // items with the same identity, other than 0, are the same item
};

template <size_t K>
class Largest {
 public:
  void Offer(const Sized& offered) {
    if (offered.bytes <= least()) return;
    for (size_t i = 0; i < size_; i++) {
      if (offered.identity != 0 && items_[i].identity == offered.identity) return;
    }
    if (size_ < K) size_++;
    size_t place = size_ - 1;
    for (; place > 0 && items_[place - 1].bytes < offered.bytes; place--) {
      items_[place] = items_[place - 1];
    }
    items_[place] = offered;
  }

  const Sized* begin() const { return items_.data(); }
  const Sized* end() const { return items_.data() + size_; }
  // Items that are not larger than this are rejected.
  uint64_t least() const { return size_ < K ? 0 : items_[K - 1].bytes; }

 private:
  std::array<Sized, K> items_{};  // in descending order
  size_t size_ = 0;
};

}  // namespace stillframe
