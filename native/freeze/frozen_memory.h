// Frozen pages inside this process: the common part of the mprotect and userfaultfd engines.
//
// Each page of a source is in one of these states, and a thread claims it by compare-and-swap only:
//
//                   a writer faults                     a saver reads the copy
//     kProtected ---------------------> kCapturing ---> kCaptured ----------------.
//         |                               ^   (copy to a slot, lift)              |
//         | a saver comes first           | a writer faults                       v
//         '--------------------------> kSaving ------------> kSaved ----------> kFree
//                                        (copy to the bounce buffer)   (lift)
//
// In kProtected, kCapturing and kSaving the page is write-protected and holds the frozen bytes. A
// thread that moves it on to kCaptured or kSaved copies the bytes first, and from kSaved on any
// thread may lift the protection.
//
// No writer waits for a saver, which runs at low priority and may be off its processor for a long
// time. In kSaving, the writer captures the page itself. The saver's own copy may be torn by then,
// so the saver takes the copy in the slot. In kSaved, the writer lifts the protection of its page
// itself. A writer that finds kCapturing waits for another writer; a writer that finds kCaptured or
// kFree came late and only has to retry.
//
// The gate: with several sources, a writer that was let through before the last source is protected
// could then write to that source, and the cut would be torn. So no writer is let through until all
// sources are protected.
//
// A lift that the kernel refuses is retried: by the writer, which may wait until the saver has
// joined mappings again, and as a whole when the capture ends. If all protection can be dropped
// (DropAll), the capture is given up that way, so that writes go on. If it cannot, and the kernel
// keeps refusing, the writer gets kRefused.
//
// An engine that knows what was written since the parent frame reports the units (of UnitBytes)
// that were not. They count as saved: nothing copies them, and a writer's fault only lifts their
// protection. Such an engine keeps memory protected after it is saved, so that it notices the next
// write, too. Release then lifts less than Lift does.
//
// When the pool is full, the writer waits until the saver has returned slots (onMemoryLimit
// 'wait'), or the whole capture is lifted and fails ('abort').
//
// ResolveWrite runs in signal handlers: neither it nor anything that it calls locks or allocates.
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

// How an engine protects pages. All methods are called from any thread and from fault handlers.
class WriteProtection {
 public:
  virtual ~WriteProtection() = default;
  virtual const char* CallName() const = 0;  // of the system call behind Protect and Lift
  // Called once per freeze, before the first Protect. From here on, faults belong to the capture.
  virtual void BeginFreeze() {}
  virtual int Protect(std::byte* start, size_t length) = 0;  // 0 or -errno
  // A thread wants to write there.
  virtual int Lift(std::byte* start, size_t length) = 0;
  // The bytes are saved or no longer wanted. A thread that then writes there may still
  // fault, and calls Lift.
  virtual int Release(std::byte* start, size_t length) { return Lift(start, length); }
  // Bytes to lift for one writer where nothing is frozen any more: a power of two, at least a page,
  // counted from the start of a source.
  virtual size_t UnitBytes() const { return 0; }
  // True if the unit at this address is unchanged since the parent frame. Asked once for each unit,
  // after the last Protect.
  virtual bool Unchanged(const std::byte* /*unit*/) const { return false; }
  // Bytes around a fault to capture at once, a power of two and at least a page, when this many
  // isolated pieces have been lifted already. Engines that pay for each piece take larger ones as
  // their means run out. 0: the writer must wait for the saver.
  virtual size_t PieceBytes(uint64_t isolated_pieces) = 0;
  // True if DropAll() can end all protection at once and for good, in a way that the kernel cannot
  // refuse. Lift succeeds after it.
  virtual bool CanDropAll() const { return false; }
  virtual void DropAll() {}
};

// Outcome of a write to a frozen page.
enum class Resolved : uint8_t {
  kCaptured,  // the page is writable, and its bytes are kept
  kWritable,  // it was writable already: the fault came late or is not ours
  kRefused,   // the kernel has refused for too long to make it writable
};

class FrozenMemory final : public PageSource {
 public:
  // Sources must begin on a page boundary and share no page.
  static Result<std::unique_ptr<FrozenMemory>> Create(const std::vector<FreezeSource>& sources,
                                                      uint64_t limit_bytes, AtLimit at_limit,
                                                      std::shared_ptr<WriteProtection> protection);

  // The instant of the freeze. On failure, everything is lifted again.
  Status ProtectAll();
  // Gives up: every page becomes writable, and every waiting writer goes on. Bytes read from then
  // on are not frozen. Returns 0, or the errno with which the kernel refused a part; the call may
  // then be repeated.
  int LiftAll();

  bool Contains(const void* address) const;
  bool Overlaps(const FrozenMemory& other) const;
  // Makes the page at this address writable and keeps its frozen bytes. Returns when a write will
  // succeed, or when the kernel has refused for too long.
  Resolved ResolveWrite(const void* address);
  // The same for a range that the kernel is about to write to.
  void PrepareWrite(std::byte* start, uint64_t length);

  // Like Engine::Peek(): pages that a writer or a saver has reached come back as zeros.
  void Peek(uint32_t section, uint64_t offset, uint64_t length, std::byte* out) const;

  // PageSource
  uint64_t NextChunk(ControlHeader* control, uint64_t chunk_count) override;
  bool Unchanged(uint32_t section, uint64_t offset, uint64_t length) const override;
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                  CopiedPage* pages) override;
  void Release(uint32_t section, uint64_t offset, size_t length) override;

  // The addresses from the first source to the end of the last one, including the
  // gaps between sources.
  uintptr_t lowest() const;
  uintptr_t highest() const;

  uint64_t copied_bytes() const { return pool_.used() * page_bytes_; }
  uint64_t copied_bytes_peak() const { return pool_.peak() * page_bytes_; }
  uint64_t copied_pages() const { return copied_pages_.load(std::memory_order_relaxed); }
  bool limit_reached() const { return limit_reached_.load(std::memory_order_relaxed); }
  // The errno of the refused lift for which the capture was given up while it was running; 0 if it
  // was not given up.
  int given_up_for() const { return given_up_for_.load(std::memory_order_relaxed); }
  const char* call_name() const { return protection_->CallName(); }
  // Gives the capture up because of a refused lift, if the protection can be dropped.
  void GiveUp(int error_number);

 private:
  enum State : uint8_t { kProtected, kCapturing, kCaptured, kSaving, kSaved, kFree };

  struct Span {
    std::byte* start;
    uint64_t page_count;
    uint64_t first_page;   // index of its first page in states_
    uint64_t first_chunk;  // among the chunks of the capture
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
  // kLate: another thread has made the page writable. kAgain: another thread is working on it.
  // kFull: no slot is free. kNoMeans: there are no means for one more isolated piece, and the saver
  // will get to the page. kRefused: the kernel refuses.
  enum class Attempt : uint8_t { kCaptured, kLate, kAgain, kFull, kNoMeans, kRefused };
  // What to do with a page in kSaving: capture it (kWanted) or leave it to the saver (kOnTheWay).
  enum class Wish : uint8_t { kWanted, kOnTheWay };
  // Moves a page to kCapturing and copies it to a slot. It stays protected. `before` receives the
  // state that it had.
  Attempt TryKeep(const Span& span, uint64_t page, Wish wish, uint8_t* before);
  // Captures the page, and with it as much as possible of the piece of so many bytes around it.
  Attempt TryCapture(const Span& span, uint64_t page, uint64_t piece);
  // The frozen bytes are no longer in the page, or not needed there.
  static bool IsOver(uint8_t state) {
    return state == kCaptured || state == kSaved || state == kFree;
  }
  bool IsWritable(const Span& span, uint64_t page) const;
  bool IsUnchanged(const Span& span, uint64_t page) const {
    return !unchanged_.empty() &&
           unchanged_[span.first_unit + page * page_bytes_ / unit_bytes_] != 0;
  }
  // State of a page for any thread that comes to it: an unchanged page counts as kFree.
  uint8_t StateNow(const Span& span, uint64_t page) const {
    if (IsUnchanged(span, page)) return kFree;
    return StateOf(span.first_page + page).load(std::memory_order_acquire);
  }
  void FindUnchanged();
  // Lifts the protection of a writable page, and of its whole unit if nothing in it is frozen.
  int LiftWritable(const Span& span, uint64_t page);
  // The saver's part of CopyFrozen: pages [first, end) of a span, all of which it has moved to
  // kSaving. False if everything has been lifted.
  bool SaveRun(const Span& span, uint64_t first, uint64_t end, uint64_t bytes, std::byte* out,
               CopiedPage* pages);
  // Takes the copy that a writer has made of a page or is making. False if the page is
  // in another state.
  bool TakeCaptured(const Span& span, uint64_t page, uint64_t bytes, std::byte* out,
                    CopiedPage* pages);
  void WaitForChange(uint32_t seen);
  void NoteChange();

  std::vector<Span> spans_;  // by section
  std::vector<std::shared_ptr<void>> regions_;
  std::vector<uint32_t> by_start_;  // sections in ascending order of address
  Mapping states_;                  // State per page; all zero is kProtected
  Mapping slots_;                   // uint32_t per page, valid in kCaptured
  struct Chunk {
    std::atomic<uint32_t> captured;  // pages waiting in the pool
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
