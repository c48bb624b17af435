#include "freeze/frozen_memory.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/sys.h"
#include "memory/page.h"

#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
#endif

namespace stillframe {
namespace {

// No wait relies on a wake-up alone: a waiting thread looks again after this time.
constexpr timespec kPatience{0, 20'000'000};
// Refusals of a lift in a row that a writer takes for temporary before it gives the capture up.
constexpr int kRefusalsInPassing = 5;
// How long a writer keeps asking if nothing else can be done: long compared with any temporary
// shortage, short compared with a service that never answers again. A process that ends is
// restarted; a process that hangs is not.
constexpr int64_t kPatienceWithKernelNs = 5'000'000'000;
// Turns that a waiting writer spins before it sleeps. A page is copied in well under a microsecond.
constexpr int kSpins = 200;
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

// Measures how long the kernel has refused one writer.
class Refusals {
 public:
  // Counts one more refusal. True if it is pointless to ask again.
  bool InVain() {
    const int64_t now_ns = sys::MonotonicNanoseconds();
    if (since_ns_ == 0) since_ns_ = now_ns;
    return now_ns - since_ns_ > kPatienceWithKernelNs;
  }

 private:
  int64_t since_ns_ = 0;
};

// Keeps TSan from reporting reads of memory that another thread is writing to. Such a
// copy is not used.
class IgnoreRaces {
 public:
#if defined(__SANITIZE_THREAD__)
  IgnoreRaces() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreRaces() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
#else
  IgnoreRaces() = default;
  ~IgnoreRaces() = default;
#endif
  IgnoreRaces(const IgnoreRaces&) = delete;
  IgnoreRaces& operator=(const IgnoreRaces&) = delete;
};

Result<Mapping> Table(uint64_t entries, size_t entry_bytes) {
  return Mapping::Anonymous(std::max<uint64_t>(entries * entry_bytes, 1),
                            MAP_PRIVATE | MAP_NORESERVE, "the page states of a capture");
}

}  // namespace

Result<std::unique_ptr<FrozenMemory>> FrozenMemory::Create(
    const std::vector<FreezeSource>& sources, uint64_t limit_bytes, AtLimit at_limit,
    std::shared_ptr<WriteProtection> protection) {
  std::unique_ptr<FrozenMemory> frozen(new FrozenMemory);
  const size_t page = SystemPageSize();
  frozen->page_bytes_ = page;
  frozen->at_limit_ = at_limit;
  frozen->protection_ = std::move(protection);
  frozen->unit_bytes_ = std::max(frozen->protection_->UnitBytes(), page);
  uint64_t pages = 0;
  uint64_t units = 0;
  uint64_t bytes = 0;
  for (const FreezeSource& source : sources) {
    const uint64_t count = DivideRoundingUp(source.byte_length, page);
    frozen->spans_.push_back({source.data, count, pages, frozen->chunk_count_, units});
    frozen->regions_.push_back(source.region);
    pages += count;
    units += DivideRoundingUp(count * page, frozen->unit_bytes_);
    bytes += source.byte_length;
    frozen->chunk_count_ += DivideRoundingUp(source.byte_length, kChunkSize);
  }
  frozen->by_start_.resize(sources.size());
  std::iota(frozen->by_start_.begin(), frozen->by_start_.end(), 0U);
  std::sort(frozen->by_start_.begin(), frozen->by_start_.end(),
            [&](uint32_t a, uint32_t b) { return sources[a].data < sources[b].data; });

  Result<Mapping> states = Table(pages, sizeof(uint8_t));
  Result<Mapping> slots = Table(pages, sizeof(uint32_t));
  Result<Mapping> chunks = Table(frozen->chunk_count_, sizeof(Chunk));
  // More slots than pages would never be used.
  Result<SlotPool> pool = SlotPool::Create(std::min(limit_bytes, RoundUp(bytes, page)), page);
  if (!states.ok()) return states.failure();
  if (!slots.ok()) return slots.failure();
  if (!chunks.ok()) return chunks.failure();
  if (!pool.ok()) return pool.failure();
  frozen->states_ = std::move(states.value());
  frozen->slots_ = std::move(slots.value());
  frozen->chunks_ = std::move(chunks.value());
  frozen->pool_ = std::move(pool.value());
  return frozen;
}

Status FrozenMemory::ProtectAll() {
  protection_->BeginFreeze();
  for (const Span& span : spans_) {
    if (span.page_count == 0) continue;
    if (const int error = protection_->Protect(span.start, span.page_count * page_bytes_);
        error < 0) {
      LiftAll();
      return SystemFailure(protection_->CallName(), -error, "cannot write-protect a region");
    }
  }
  FindUnchanged();
  gate_open_.store(1, std::memory_order_release);
  sys::Futex(&gate_open_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr);
  return Success{};
}

void FrozenMemory::FindUnchanged() {
  if (protection_->UnitBytes() == 0) return;
  for (const Span& span : spans_) {
    for (std::byte* unit = span.start; unit < span.end(page_bytes_); unit += unit_bytes_) {
      unchanged_.push_back(protection_->Unchanged(unit) ? 1 : 0);
    }
  }
}

int FrozenMemory::LiftAll() {
  lifted_.store(1, std::memory_order_release);
  // From here on nothing is ever protected again.
  if (all_lifted_.load(std::memory_order_acquire)) return 0;
  int refused = 0;
  for (const Span& span : spans_) {
    if (span.page_count == 0) continue;
    const int error = protection_->Release(span.start, span.page_count * page_bytes_);
    if (error < 0) refused = -error;
  }
  if (refused != 0 && protection_->CanDropAll()) {
    protection_->DropAll();
    refused = 0;
  }
  all_lifted_.store(refused == 0, std::memory_order_release);
  gate_open_.store(1, std::memory_order_release);
  sys::Futex(&gate_open_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr);
  NoteChange();
  return refused;
}

void FrozenMemory::GiveUp(int error_number) {
  if (!protection_->CanDropAll()) return;
  // This must precede the first write to any page: what is saved from then on was not frozen.
  given_up_for_.store(error_number, std::memory_order_seq_cst);
  protection_->DropAll();
  LiftAll();
}

const FrozenMemory::Span* FrozenMemory::SpanOf(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  // The last span that starts at or before the address.
  const auto after =
      std::upper_bound(by_start_.begin(), by_start_.end(), at,
                       [&](const std::byte* a, uint32_t s) { return a < spans_[s].start; });
  for (auto candidate = after; candidate != by_start_.begin();) {
    const Span& span = spans_[*--candidate];
    if (span.page_count == 0) continue;  // empty sources hide no others
    return at < span.end(page_bytes_) ? &span : nullptr;
  }
  return nullptr;
}

uintptr_t FrozenMemory::lowest() const {
  return by_start_.empty() ? 0 : reinterpret_cast<uintptr_t>(spans_[by_start_.front()].start);
}

uintptr_t FrozenMemory::highest() const {
  uintptr_t highest = 0;
  for (const Span& span : spans_) {
    highest = std::max(highest, reinterpret_cast<uintptr_t>(span.end(page_bytes_)));
  }
  return highest;
}

bool FrozenMemory::Contains(const void* address) const { return SpanOf(address) != nullptr; }

bool FrozenMemory::Overlaps(const FrozenMemory& other) const {
  return std::any_of(spans_.begin(), spans_.end(), [&](const Span& span) {
    return span.page_count > 0 &&
           (other.Contains(span.start) || other.Contains(span.end(page_bytes_) - 1));
  });
}

void FrozenMemory::NoteChange() {
  changes_.fetch_add(1, std::memory_order_seq_cst);
  if (waiters_.load(std::memory_order_seq_cst) > 0) {
    sys::Futex(&changes_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr);
  }
}

void FrozenMemory::WaitForChange(uint32_t seen) {
  for (int i = 0; i < kSpins; i++) {
    if (changes_.load(std::memory_order_acquire) != seen) return;
    Pause();
  }
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  sys::Futex(&changes_, FUTEX_WAIT_PRIVATE, seen, &kPatience);
  waiters_.fetch_sub(1, std::memory_order_seq_cst);
}

FrozenMemory::Attempt FrozenMemory::TryKeep(const Span& span, uint64_t page, Wish wish,
                                            uint8_t* before) {
  std::atomic<uint8_t>& state = StateOf(span.first_page + page);
  const uint8_t found = StateNow(span, page);
  if (IsOver(found)) return Attempt::kLate;
  if (found == kCapturing || (found == kSaving && wish == Wish::kOnTheWay)) return Attempt::kAgain;
  const uint32_t slot = pool_.Take();
  // A page that is being saved will soon be writable, so it is no reason to give up.
  if (slot == SlotPool::kNone) return found == kSaving ? Attempt::kAgain : Attempt::kFull;
  *before = found;
  if (!state.compare_exchange_strong(*before, kCapturing, std::memory_order_acq_rel)) {
    pool_.Give(slot);
    return Attempt::kAgain;
  }
  SlotOf(span.first_page + page).store(slot, std::memory_order_relaxed);
  // A thread that waits for us in a fault has already reported its write to TSan.
  [[maybe_unused]] const IgnoreRaces ignore;
  memcpy(pool_.Bytes(slot), span.start + page * page_bytes_, page_bytes_);
  return Attempt::kCaptured;
}

FrozenMemory::Attempt FrozenMemory::TryCapture(const Span& span, uint64_t page, uint64_t piece) {
  uint8_t before = kProtected;
  const Attempt kept = TryKeep(span, page, Wish::kWanted, &before);
  if (kept != Attempt::kCaptured) return kept;
  // The rest of the piece, as far as no other thread is working on it. No page of it is worth
  // waiting for, and it takes one lift.
  const auto joins = [&](uint64_t each) {
    uint8_t protected_before = kProtected;
    return IsOver(StateNow(span, each)) ||
           TryKeep(span, each, Wish::kOnTheWay, &protected_before) == Attempt::kCaptured;
  };
  const uint64_t pages = piece / page_bytes_;
  uint64_t first = page;
  uint64_t end = page + 1;
  while (first > RoundDown(page, pages) && joins(first - 1)) first--;
  while (end < std::min(RoundDown(page, pages) + pages, span.page_count) && joins(end)) end++;
  const bool lifted =
      protection_->Lift(span.start + first * page_bytes_, (end - first) * page_bytes_) >= 0;
  const uint64_t chunk = span.first_chunk + page * page_bytes_ / kChunkSize;
  for (uint64_t each = first; each < end; each++) {
    std::atomic<uint8_t>& state = StateOf(span.first_page + each);
    // All of these are ours: a page that was over when it joined never gets into this state.
    if (state.load(std::memory_order_relaxed) != kCapturing) continue;
    if (lifted) {
      ChunkAt(chunk).captured.fetch_add(1, std::memory_order_relaxed);
      copied_pages_.fetch_add(1, std::memory_order_relaxed);
      state.store(kCaptured, std::memory_order_release);
    } else {
      // Continue as if the capture of this page had never been tried.
      const uint32_t slot = SlotOf(span.first_page + each).load(std::memory_order_relaxed);
      state.store(each == page ? before : uint8_t{kProtected}, std::memory_order_release);
      pool_.Give(slot);
    }
  }
  if (!lifted) return Attempt::kRefused;
  NoteChange();
  return Attempt::kCaptured;
}

bool FrozenMemory::IsWritable(const Span& span, uint64_t page) const {
  return IsOver(StateNow(span, page)) || lifted_.load(std::memory_order_acquire) != 0;
}

int FrozenMemory::LiftWritable(const Span& span, uint64_t page) {
  // A writable page stays writable, so what was seen of the other pages still holds.
  const uint64_t pages = unit_bytes_ / page_bytes_;
  const uint64_t first = RoundDown(page, pages);
  const uint64_t end = std::min(first + pages, span.page_count);
  bool whole = true;
  for (uint64_t each = first; each < end && whole; each++) whole = IsWritable(span, each);
  if (whole)
    return protection_->Lift(span.start + first * page_bytes_, (end - first) * page_bytes_);
  return protection_->Lift(span.start + page * page_bytes_, page_bytes_);
}

Resolved FrozenMemory::ResolveWrite(const void* address) {
  while (gate_open_.load(std::memory_order_acquire) == 0) {
    sys::Futex(&gate_open_, FUTEX_WAIT_PRIVATE, 0, &kPatience);
  }
  const Span* span = SpanOf(address);
  const auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(address) - span->start);
  const uint64_t page = offset / page_bytes_;
  Refusals refusals;
  int refused = 0;
  for (;;) {
    const uint32_t seen = changes_.load(std::memory_order_acquire);
    if (IsWritable(*span, page)) {
      // The saver has not lifted it yet, or was refused.
      const int error = LiftWritable(*span, page);
      if (error >= 0) return Resolved::kWritable;
      if (++refused > kRefusalsInPassing) GiveUp(-error);
      if (refusals.InVain()) return Resolved::kRefused;
      WaitForChange(seen);
      continue;
    }
    const size_t piece = protection_->PieceBytes(isolated_pieces_.load(std::memory_order_relaxed));
    const Attempt attempt = piece == 0 ? Attempt::kNoMeans : TryCapture(*span, page, piece);
    if (attempt == Attempt::kFull && at_limit_ == AtLimit::kAbort && !IsWritable(*span, page)) {
      limit_reached_.store(true, std::memory_order_relaxed);
      LiftAll();
      continue;
    }
    if (attempt == Attempt::kLate) continue;
    // The saver may have more luck with a larger piece, and the saver or the capture
    // will end in any case.
    if (attempt == Attempt::kRefused && ++refused > kRefusalsInPassing) GiveUp(ENOMEM);
    if (attempt != Attempt::kCaptured) {
      WaitForChange(seen);
      continue;
    }
    // In this order, so that a concurrent release of the chunk cannot subtract a piece that
    // is not counted yet.
    isolated_pieces_.fetch_add(1, std::memory_order_relaxed);
    ChunkAt(span->first_chunk + offset / kChunkSize).pieces.fetch_add(1);
    return Resolved::kCaptured;
  }
}

void FrozenMemory::PrepareWrite(std::byte* start, uint64_t length) {
  for (std::byte* at = start; at < start + length; at += page_bytes_) {
    // The kernel will then fail that write with EFAULT.
    if (Contains(at) && ResolveWrite(at) == Resolved::kRefused) return;
  }
  if (length > 0 && Contains(start + length - 1)) ResolveWrite(start + length - 1);
}

uint64_t FrozenMemory::NextChunk(ControlHeader* control, uint64_t chunk_count) {
  if (lifted_.load(std::memory_order_acquire) != 0) return chunk_count;  // no longer worth saving
  const auto take = [&](uint64_t chunk) {
    return ChunkAt(chunk).taken.exchange(1, std::memory_order_acq_rel) == 0;
  };
  // When the pool runs low, save the chunk with the most captured pages. Otherwise go through the
  // regions in order, so that writable pages join into one piece again.
  if (pool_.used() > pool_.slot_count() * 3 / 4) {
    uint64_t best = chunk_count;
    uint32_t most = 0;
    for (uint64_t each = 0; each < chunk_count; each++) {
      const uint32_t captured = ChunkAt(each).captured.load(std::memory_order_relaxed);
      if (captured <= most || ChunkAt(each).taken.load(std::memory_order_relaxed) != 0) continue;
      most = captured;
      best = each;
    }
    if (best < chunk_count && take(best)) return best;
  }
  for (;;) {
    const uint64_t chunk = control->next_chunk.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= chunk_count || take(chunk)) return chunk;
  }
}

void FrozenMemory::Release(uint32_t section, uint64_t offset, size_t /*length*/) {
  // The whole chunk is one piece again, or soon will be, together with its neighbors.
  Chunk& chunk = ChunkAt(spans_[section].first_chunk + offset / kChunkSize);
  isolated_pieces_.fetch_sub(chunk.pieces.exchange(0), std::memory_order_relaxed);
  NoteChange();
}

void FrozenMemory::Peek(uint32_t section, uint64_t offset, uint64_t length, std::byte* out) const {
  const Span& span = spans_[section];
  {
    [[maybe_unused]] const IgnoreRaces ignore;
    memcpy(out, span.start + offset, length);
  }
  // A page never returns to kProtected: if it is in that state now, it was write-protected while
  // it was being read.
  std::atomic_thread_fence(std::memory_order_acquire);
  const bool lifted = lifted_.load(std::memory_order_acquire) != 0;
  for (uint64_t at = 0; at < length; at += page_bytes_) {
    if (!lifted && StateNow(span, (offset + at) / page_bytes_) == kProtected) continue;
    memset(out + at, 0, std::min<uint64_t>(page_bytes_, length - at));
  }
}

bool FrozenMemory::Unchanged(uint32_t section, uint64_t offset, uint64_t length) const {
  if (unchanged_.empty() || length == 0) return false;
  const uint8_t* first = unchanged_.data() + spans_[section].first_unit + offset / unit_bytes_;
  const uint8_t* end = unchanged_.data() + spans_[section].first_unit +
                       DivideRoundingUp(offset + length, unit_bytes_);
  return std::all_of(first, end, [](uint8_t unchanged) { return unchanged != 0; });
}

bool FrozenMemory::TakeCaptured(const Span& span, uint64_t page, uint64_t bytes, std::byte* out,
                                CopiedPage* pages) {
  std::atomic<uint8_t>& state = StateOf(span.first_page + page);
  for (;;) {
    const uint32_t seen = changes_.load(std::memory_order_acquire);
    const uint8_t found = state.load(std::memory_order_acquire);
    if (found == kCaptured) break;
    if (found != kCapturing || lifted_.load(std::memory_order_acquire) != 0) return false;
    WaitForChange(seen);
  }
  const uint32_t slot = SlotOf(span.first_page + page).load(std::memory_order_relaxed);
  CopyPages(pool_.Bytes(slot), bytes, out, pages);
  state.store(kFree, std::memory_order_release);
  pool_.Give(slot);
  NoteChange();
  return true;
}

bool FrozenMemory::SaveRun(const Span& span, uint64_t first, uint64_t end, uint64_t bytes,
                           std::byte* out, CopiedPage* pages) {
  std::byte* from = span.start + first * page_bytes_;
  {
    // Writers may write in between; the bytes that they have overwritten are discarded below.
    [[maybe_unused]] const IgnoreRaces ignore;
    CopyPages(from, bytes, out, pages);
  }
  for (uint64_t page = first; page < end;) {
    uint8_t expected = kSaving;
    const uint64_t at = (page - first) * page_bytes_;
    if (StateOf(span.first_page + page)
            .compare_exchange_strong(expected, kSaved, std::memory_order_acq_rel) ||
        TakeCaptured(span, page, std::min<uint64_t>(page_bytes_, bytes - at), out + at,
                     pages + at / kPageSize)) {
      page++;
      continue;
    }
    if (lifted_.load(std::memory_order_acquire) != 0) return false;  // no longer wanted
  }
  // Lifts the run as a whole, so that a huge page stays whole and mappings join again. If the
  // kernel refuses, the run stays protected: a writer lifts its own page of it, and the end of the
  // capture lifts everything.
  if (protection_->Release(from, (end - first) * page_bytes_) < 0) return true;
  for (uint64_t page = first; page < end; page++) {
    StateOf(span.first_page + page).store(kFree, std::memory_order_release);
  }
  NoteChange();
  return true;
}

void FrozenMemory::CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                              CopiedPage* pages) {
  const Span& span = spans_[section];
  // Offsets are multiples of the block size, and therefore of the page size.
  const uint64_t first = offset / page_bytes_;
  const uint64_t end = DivideRoundingUp(offset + length, page_bytes_);
  const auto begin_saving = [&](uint64_t page) {
    uint8_t expected = kProtected;
    return StateOf(span.first_page + page)
        .compare_exchange_strong(expected, kSaving, std::memory_order_acq_rel);
  };
  for (uint64_t page = first; page < end;) {
    const uint64_t at = page * page_bytes_ - offset;
    uint64_t run_end = page;
    while (run_end < end && begin_saving(run_end)) run_end++;
    if (run_end > page) {
      const uint64_t bytes = std::min(run_end * page_bytes_, offset + length) - page * page_bytes_;
      if (!SaveRun(span, page, run_end, bytes, out + at, pages + at / kPageSize)) return;
      page = run_end;
      continue;
    }
    const uint64_t bytes = std::min<uint64_t>(page_bytes_, offset + length - page * page_bytes_);
    if (TakeCaptured(span, page, bytes, out + at, pages + at / kPageSize)) {
      page++;
    } else if (lifted_.load(std::memory_order_acquire) != 0) {
      return;
    }
  }
}

}  // namespace stillframe
