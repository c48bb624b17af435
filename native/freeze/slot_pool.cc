#include "freeze/slot_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace stillframe {
namespace {

std::atomic<uint32_t>* NextOf(const Mapping& next, uint32_t slot) {
  return reinterpret_cast<std::atomic<uint32_t>*>(next.data()) + slot;
}

}  // namespace

Result<SlotPool> SlotPool::Create(uint64_t limit_bytes, size_t slot_bytes) {
  SlotPool pool;
  pool.slot_bytes_ = slot_bytes;
  pool.slot_count_ = static_cast<uint32_t>(
      std::min<uint64_t>(std::max<uint64_t>(limit_bytes / slot_bytes, 1), kNone - 1));
  Result<Mapping> memory = Mapping::Anonymous(
      size_t{pool.slot_count_} * slot_bytes, MAP_PRIVATE | MAP_NORESERVE, "the pool of pre-images");
  if (!memory.ok()) return memory.failure();
  pool.memory_ = std::move(memory.value());
  // As private as the regions whose pages it will hold.
  sys::Madvise(pool.memory_.data(), pool.memory_.length(), MADV_DONTFORK);
  Result<Mapping> next = Mapping::Anonymous(size_t{pool.slot_count_} * sizeof(uint32_t),
                                            MAP_PRIVATE | MAP_NORESERVE, "the pool of pre-images");
  if (!next.ok()) return next.failure();
  pool.next_memory_ = std::move(next.value());
  return pool;
}

SlotPool::SlotPool(SlotPool&& other) noexcept { *this = std::move(other); }

SlotPool& SlotPool::operator=(SlotPool&& other) noexcept {
  memory_ = std::move(other.memory_);
  next_memory_ = std::move(other.next_memory_);
  slot_bytes_ = other.slot_bytes_;
  slot_count_ = other.slot_count_;
  head_ = other.head_.load();
  untouched_ = other.untouched_.load();
  used_ = other.used_.load();
  peak_ = other.peak_.load();
  return *this;
}

uint32_t SlotPool::Take() {
  uint32_t slot = kNone;
  uint64_t head = head_.load(std::memory_order_acquire);
  // A slot that has been used before is already resident, and probably still in a cache.
  while (static_cast<uint32_t>(head) != kNone) {
    const auto first = static_cast<uint32_t>(head);
    const uint64_t next = NextOf(next_memory_, first)->load(std::memory_order_relaxed);
    const uint64_t tag = (head >> 32) + 1;
    if (head_.compare_exchange_weak(head, tag << 32 | next, std::memory_order_acq_rel)) {
      slot = first;
      break;
    }
  }
  if (slot == kNone) {
    uint32_t fresh = untouched_.load(std::memory_order_relaxed);
    while (fresh < slot_count_ && !untouched_.compare_exchange_weak(fresh, fresh + 1)) {
    }
    if (fresh >= slot_count_) return kNone;
    slot = fresh;
  }
  const uint32_t used = used_.fetch_add(1, std::memory_order_relaxed) + 1;
  uint32_t peak = peak_.load(std::memory_order_relaxed);
  while (used > peak && !peak_.compare_exchange_weak(peak, used, std::memory_order_relaxed)) {
  }
  return slot;
}

void SlotPool::Give(uint32_t slot) {
  // This must precede the return of the slot, so that the count never exceeds the number of slots.
  used_.fetch_sub(1, std::memory_order_relaxed);
  uint64_t head = head_.load(std::memory_order_relaxed);
  uint64_t with_slot = 0;
  do {
    NextOf(next_memory_, slot)->store(static_cast<uint32_t>(head), std::memory_order_relaxed);
    with_slot = ((head >> 32) + 1) << 32 | slot;
  } while (!head_.compare_exchange_weak(head, with_slot, std::memory_order_acq_rel));
}

}  // namespace stillframe
