// Frozen pages inside this process: what the mprotect and userfaultfd engines have in common.
//
// Each page of a source is in one state, changed by compare-and-swap only:
//
//                   a writer faults                     a saver reads the copy
//     kProtected ---------------------> kCapturing ---> kCaptured ----------------.
//         |                               ^   (copy to a slot, lift)              |
//         | a saver comes first           | a writer faults                       v
//         '--------------------------> kSaving ------------> kSaved ----------> kFree
//                                        (copy to the bounce buffer)   (lift)
//
// In kProtected, kCapturing and kSaving the page is write-protected and holds the frozen bytes. The
// thread that moves it on to kCaptured or kSaved has copied the bytes first, and from kSaved on
// anybody may lift the protection.
//
// No writer waits for a saver, which runs with low priority and may be off its processor for long.
// In kSaving the writer captures the page itself, and the saver, whose own copy may be torn by
// then, takes the one in the slot. In kSaved the writer lifts the protection of its page itself. A
// writer that finds kCapturing waits for another writer; one that finds kCaptured or kFree came
// late and only has to try again.
//
// The gate: with several sources, a writer that was let through before the last source is protected
// could then write to that one, and the cut would be torn. So nobody is let through until all
// sources are protected.
//
// A lift that the kernel refuses is tried again: by the writer, which may wait for the saver to
// join mappings again, and as a whole when the capture ends. If there is another way (DropAll), the
// capture is given up by it, so that writes go on. If there is none, and the kernel does not change
// its mind, the writer is told so.
//
// An engine that knows what was written since the frame that this one builds on says which units (of
// UnitBytes) were not. They are as if saved already: nobody copies them, and a writer's fault only
// lifts their protection. Such an engine keeps memory protected after it is saved, so that the next
// write is noticed, too: Release then lifts less than Lift does.
//
// When the pool is full the writer waits until the saver has given slots back (onMemoryLimit
// 'wait'), or the whole capture is lifted and fails ('abort').
//
// ResolveWrite runs in signal handlers: it and everything it calls neither lock nor allocate.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "freeze/engine.h"
#include "freeze/slot_pool.h"
#include "image/page_source.h"

namespace stillframe {

// How an engine protects pages. Everything here is called from any thread and from fault handlers.
class WriteProtection {
 public:
  virtual ~WriteProtection() = default;
  virtual const char* CallName() const = 0;  // of the system call behind both
  // Once for each freeze, before the first Protect: from here on faults are for the capture.
  virtual void BeginFreeze() {}
  virtual int Protect(std::byte* start, size_t length) = 0;  // 0 or -errno
  // Somebody wants to write there.
  virtual int Lift(std::byte* start, size_t length) = 0;
  // The bytes are saved, or nobody wants them any more. Whoever then writes there may still fault,
  // and calls Lift.
  virtual int Release(std::byte* start, size_t length) { return Lift(start, length); }
  // How much to lift for one writer where nothing is frozen any more: a power of two, counted from
  // the start of a source, and at least a page.
  virtual size_t UnitBytes() const { return 0; }
  // Whether the unit at this address is as in the frame that this one builds on. Asked once for
  // each unit, after the last Protect.
  virtual bool Unchanged(const std::byte* /*unit*/) const { return false; }
  // How many bytes around a fault to capture at once, a power of two and at least a page, after so
  // many isolated pieces have been lifted already: engines that pay for each piece take larger ones
  // as their means run out. 0: the writer must wait for the saver.
  virtual size_t PieceBytes(uint64_t isolated_pieces) = 0;
  // Whether all protection can be ended at once and for good in a way that the kernel cannot
  // refuse. Lift succeeds after it.
  virtual bool CanDropAll() const { return false; }
  virtual void DropAll() {}
};

// What became of a write to a frozen page.
enum class Resolved : uint8_t {
  kCaptured,  // the page is writable, and its bytes are kept
  kWritable,  // it was writable already: the fault came late, or is none of ours
  kRefused,   // the kernel does not let it be made writable, and has been asked for long enough
};

class FrozenMemory final : public PageSource {
 public:
  // Sources must begin on a page boundary and share no page.
  static Result<std::unique_ptr<FrozenMemory>> Create(const std::vector<FreezeSource>& sources,
                                                      uint64_t limit_bytes, AtLimit at_limit,
                                                      std::shared_ptr<WriteProtection> protection);

  // The instant of the freeze. On failure everything is lifted again.
  Status ProtectAll();
  // Gives up: every page becomes writable, and every waiting writer goes on; what is read from now
  // on is not frozen. Returns 0, or the errno with which the kernel refused that for a part; it may
  // then be tried again.
  int LiftAll();

  bool Contains(const void* address) const;
  bool Overlaps(const FrozenMemory& other) const;
  // Makes the page at this address writable, with its frozen bytes kept. Returns when a write will
  // succeed, or never.
  Resolved ResolveWrite(const void* address);
  // The same for a range, for writes that the kernel is going to make.
  void PrepareWrite(std::byte* start, uint64_t length);

  // Like Engine::Peek(): pages that a writer or a saver has reached cannot be read.
  void Peek(uint32_t section, uint64_t offset, uint64_t length, std::byte* out) const;

  // PageSource
  uint64_t NextChunk(ControlHeader* control, uint64_t chunk_count) override;
  bool Unchanged(uint32_t section, uint64_t offset, uint64_t length) const override;
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) override;
  void Release(uint32_t section, uint64_t offset, size_t length) override;

  // The addresses from the first source to the last, including what lies between them.
  uintptr_t lowest() const;
  uintptr_t highest() const;

  uint64_t copied_bytes() const { return pool_.used() * page_bytes_; }
  uint64_t copied_bytes_peak() const { return pool_.peak() * page_bytes_; }
  uint64_t copied_pages() const { return copied_pages_.load(std::memory_order_relaxed); }
  bool limit_reached() const { return limit_reached_.load(std::memory_order_relaxed); }
  // The errno of the refused lift for which the capture was given up while it was running; 0 if it
  // was not.
  int given_up_for() const { return given_up_for_.load(std::memory_order_relaxed); }
  const char* call_name() const { return protection_->CallName(); }
  // Gives up because of a refused lift, if there is a way that cannot be refused.
  void GiveUp(int error_number);

 private:
  enum State : uint8_t { kProtected, kCapturing, kCaptured, kSaving, kSaved, kFree };

  struct Span {
    std::byte* start;
    uint64_t page_count;
    uint64_t first_page;   // index of its first page in states_
    uint64_t first_chunk;  // of the capture
    uint64_t first_unit;   // in unchanged_
    std::byte* end(size_t page_bytes) const { return start + page_count * page_bytes; }
  };

  FrozenMemory() = default;
  const Span* SpanOf(const void* address) const;
  std::atomic<uint8_t>& StateOf(uint64_t page) const {
    return reinterpret_cast<std::atomic<uint8_t>*>(states_.data())[page];
  }
  std::atomic<uint32_t>& SlotOf(uint64_t page) const {
    return reinterpret_cast<std::atomic<uint32_t>*>(slots_.data())[page];
  }
  // kLate: somebody else has made the page writable. kAgain: somebody else is working on it. kFull:
  // there is no slot. kNoMeans: there are no means for one more isolated piece, and the saver will
  // come by. kRefused: the kernel refuses.
  enum class Attempt : uint8_t { kCaptured, kLate, kAgain, kFull, kNoMeans, kRefused };
  // For a page in kSaving, only if it is wanted at once.
  enum class Wish : uint8_t { kWanted, kOnTheWay };
  Attempt TryCapture(const Span& span, uint64_t page, Wish wish);
  bool IsWritable(const Span& span, uint64_t page) const;
  bool IsUnchanged(const Span& span, uint64_t page) const {
    return !unchanged_.empty() &&
           unchanged_[span.first_unit + page * page_bytes_ / unit_bytes_] != 0;
  }
  // What the state of a page means for whoever comes to it.
  uint8_t StateNow(const Span& span, uint64_t page) const {
    if (IsUnchanged(span, page)) return kFree;
    return StateOf(span.first_page + page).load(std::memory_order_acquire);
  }
  void FindUnchanged();
  // Lifts the protection of a writable page: with all of its unit, if nothing of that is frozen.
  int LiftWritable(const Span& span, uint64_t page);
  // The saver's part of CopyFrozen: pages [first, end) of a span, all of which it has moved to
  // kSaving. False: everything has been lifted.
  bool SaveRun(const Span& span, uint64_t first, uint64_t end, uint64_t bytes, std::byte* out);
  // Takes the copy that a writer has made of a page, or is making. False: the page is in another
  // state.
  bool TakeCaptured(const Span& span, uint64_t page, uint64_t bytes, std::byte* out);
  void WaitForChange(uint32_t seen);
  void NoteChange();

  std::vector<Span> spans_;  // by section
  std::vector<std::shared_ptr<void>> regions_;
  std::vector<uint32_t> by_start_;  // sections in ascending order of address
  Mapping states_;                  // State per page; all zero is kProtected
  Mapping slots_;                   // uint32_t per page, valid in kCaptured
  struct Chunk {
    std::atomic<uint32_t> captured;  // pages that wait in the pool
    std::atomic<uint32_t> pieces;    // lifted by writers, isolated from what the saver has lifted
    std::atomic<uint8_t> taken;
  };
  Chunk& ChunkAt(uint64_t chunk) const { return reinterpret_cast<Chunk*>(chunks_.data())[chunk]; }
  Mapping chunks_;
  uint64_t chunk_count_ = 0;
  SlotPool pool_;
  size_t page_bytes_ = 0;
  AtLimit at_limit_ = AtLimit::kWait;
  std::shared_ptr<WriteProtection> protection_;
  size_t unit_bytes_ = 0;
  std::vector<uint8_t> unchanged_;  // by unit; empty: none is. Written before the gate opens

  std::atomic<uint32_t> gate_open_{0};  // a futex
  std::atomic<uint32_t> lifted_{0};
  std::atomic<bool> all_lifted_{false};
  std::atomic<uint32_t> changes_{0};  // a futex: grows with every page that becomes writable
  std::atomic<uint32_t> waiters_{0};
  std::atomic<uint64_t> isolated_pieces_{0};
  std::atomic<uint64_t> copied_pages_{0};
  std::atomic<bool> limit_reached_{false};
  std::atomic<int> given_up_for_{0};
};

}  // namespace stillframe
