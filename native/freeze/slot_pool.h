// The pool for pre-images: a fixed number of page-sized slots, which any thread and any fault
// handler can take and return without a lock.
//
// The free slots form a stack, a linked list of indices. The head carries a tag that grows with
// each change, so that a slot that was taken and returned in between is not mistaken for one
// that never moved.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mapping.h"

namespace stillframe {

class SlotPool {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Reserves address space for all slots; only slots that have been used take memory.
  static Result<SlotPool> Create(uint64_t limit_bytes, size_t slot_bytes);
  SlotPool() = default;
  SlotPool(SlotPool&& other) noexcept;
  SlotPool& operator=(SlotPool&& other) noexcept;

  // kNone if all slots are in use.
  uint32_t Take();
  void Give(uint32_t slot);

  std::byte* Bytes(uint32_t slot) const { return memory_.data() + size_t{slot} * slot_bytes_; }
  uint64_t slot_count() const { return slot_count_; }
  uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }

 private:
  Mapping memory_;
  Mapping next_memory_;  // uint32_t per slot: the next free slot
  size_t slot_bytes_ = 0;
  uint32_t slot_count_ = 0;
  // Low half: first free slot. High half: tag.
  std::atomic<uint64_t> head_{kNone};
  std::atomic<uint32_t> untouched_{0};  // slots from here on have never been taken
  std::atomic<uint32_t> used_{0};
  std::atomic<uint32_t> peak_{0};
};

}  // namespace stillframe
