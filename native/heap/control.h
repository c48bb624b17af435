// The memory that the parent shares with a forked copy: the counters of every capture, the error
// that the callback threw, and the output buffer. It is one MAP_SHARED mapping, made before the
// fork, so that nothing in it is lost when the copy dies.
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

// The reason why a copy has ended itself.
enum class SelfEnd : uint32_t {
  kNone = 0,
  kWaitsForEver,  // on a lock held by a thread that the copy does not have
  kOutOfMemory,
  kOutOfTime,
  kStalled,
};

struct HeapCounters {
  std::atomic<uint32_t> steps_done;   // of V8's walk over the heap
  std::atomic<uint32_t> steps_total;  // 0 until it is known
  std::atomic<uint32_t> highest_id;   // id in the heap snapshot, within the range from FreshIds
  std::atomic<uint32_t> out_of_heap;  // V8 has reached its heap limit
  // The callback has touched memory that is left out of the copy.
  std::atomic<uint32_t> touched_left_out;
  std::atomic<SelfEnd> self_end;
  // Length of the failure, in bytes. Stored after the failure itself.
  std::atomic<uint32_t> failure_length;
};

class HeapControl {
 public:
  static constexpr size_t kFailureBytes = size_t{64} << 10;
  // Large enough for efficient writes, and negligible compared with a heap.
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

// Grows with the output of the copy and with the processor time that it uses: a callback that
// computes for a long time without writing is not stuck.
inline uint64_t PulseOf(const ControlHeader& header, clockid_t cpu_clock) {
  constexpr int64_t kHundredth = 10'000'000;
  return header.heartbeat.load(std::memory_order_relaxed) +
         static_cast<uint64_t>(ClockNanoseconds(cpu_clock) / kHundredth);
}

}  // namespace stillframe
