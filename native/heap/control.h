// What parent and forked copy share: the counters of every capture, what the callback threw, and
// the buffer that its output goes through. It is one MAP_SHARED mapping, made before the fork, so
// that a copy that dies loses nothing of it.
//
//   | ControlHeader, HeapCounters | failure, a serialized value | output buffer |
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <new>

#include "base/clock.h"
#include "base/mapping.h"
#include "image/control_block.h"

namespace stillframe {

// Why a copy has ended itself.
enum class SelfEnd : uint32_t {
  kNone = 0,
  kWaitsForEver,  // for a lock of a thread that is not there
  kOutOfMemory,
  kOutOfTime,
  kStalled,
};

struct HeapCounters {
  std::atomic<uint32_t> steps_done;   // of V8's walk over the heap
  std::atomic<uint32_t> steps_total;  // 0 while not known
  std::atomic<uint32_t> highest_id;   // in the heap snapshot, where FreshIds gave the range
  std::atomic<uint32_t> out_of_heap;  // V8 has reached its heap limit
  // The callback has touched memory that the copy does without.
  std::atomic<uint32_t> touched_left_out;
  std::atomic<SelfEnd> self_end;
  // Bytes of the failure; stored last.
  std::atomic<uint32_t> failure_length;
};

class HeapControl {
 public:
  static constexpr size_t kFailureBytes = size_t{64} << 10;
  // Large enough for the disk, and small enough to be nothing beside a heap.
  static constexpr size_t kOutputBytes = size_t{1} << 20;

  static Result<HeapControl> Create() {
    Result<Mapping> mapping =
        Mapping::Anonymous(kPageSize + kFailureBytes + kOutputBytes, MAP_SHARED,
                           "the control block of the forked copy");
    if (!mapping.ok()) return mapping.failure();
    new (mapping.value().data()) ControlHeader{};
    new (mapping.value().data() + kCountersOffset) HeapCounters{};
    return HeapControl(std::move(mapping.value()));
  }

  ControlHeader* header() const { return reinterpret_cast<ControlHeader*>(mapping_.data()); }
  HeapCounters* counters() const {
    return reinterpret_cast<HeapCounters*>(mapping_.data() + kCountersOffset);
  }
  std::byte* failure() const { return mapping_.data() + kPageSize; }
  std::byte* output() const { return failure() + kFailureBytes; }

 private:
  explicit HeapControl(Mapping mapping) : mapping_(std::move(mapping)) {}
  static constexpr size_t kCountersOffset = kPageSize / 2;
  static_assert(sizeof(ControlHeader) <= kCountersOffset && sizeof(HeapCounters) <= kPageSize / 2);
  Mapping mapping_;
};

// Grows with what the copy writes, and with the processor time that it uses: a callback may compute
// for long without writing, and is not stuck.
inline uint64_t PulseOf(const ControlHeader& header, clockid_t cpu_clock) {
  constexpr int64_t kHundredth = 10'000'000;
  return header.heartbeat.load(std::memory_order_relaxed) +
         static_cast<uint64_t>(ClockNanoseconds(cpu_clock) / kHundredth);
}

}  // namespace stillframe
