#include "freeze/tracked_region.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "freeze/frozen_memory.h"

namespace stillframe {
namespace {

// Refusals of a lift in a row that count as temporary, and the time between two of them.
constexpr int kRefusalsInPassing = 5;
constexpr timespec kBreath{0, 1'000'000};

}  // namespace

TrackedRegion::TrackedRegion(const RegionMemory& region)
    : data_(region.data()),
      length_(RoundUp(region.byte_length(), SystemPageSize())),
      unit_count_(DivideRoundingUp(length_, kUnitBytes)),
      changed_(unit_count_),
      lifted_(unit_count_) {
  for (size_t unit = 0; unit < unit_count_; unit++) Mark(unit);
}

Result<std::shared_ptr<TrackedRegion>> TrackedRegion::Create(const RegionMemory& region) {
  std::shared_ptr<TrackedRegion> tracked(new TrackedRegion(region));
  TrackedRegion* self = tracked.get();
  if (Status open = self->userfaultfd_.Open(FaultVariant::kThread); !open.ok()) {
    return open.failure();
  }
  Status registered = self->userfaultfd_.Register(self->data_, self->length_);
  if (!registered.ok()) return registered.failure();
  Status answers = self->userfaultfd_.Answer(
      {.fault = [self](const void* address) { self->Answer(address); },
       .unreadable = [self](int error_number) { self->GiveUp(error_number); }});
  if (!answers.ok()) return answers.failure();
  return tracked;
}

std::shared_ptr<TrackedRegion> TrackedRegion::Of(const RegionMemory& region) {
  auto tracked = std::static_pointer_cast<TrackedRegion>(region.companion());
  return tracked && !tracked->userfaultfd_.dropped() ? tracked : nullptr;
}

size_t TrackedRegion::UnitLength(size_t unit) const {
  return std::min(kUnitBytes, length_ - unit * kUnitBytes);
}

void TrackedRegion::Mark(size_t unit) {
  changed_[unit].store(1, std::memory_order_seq_cst);
  lifted_[unit].store(1, std::memory_order_seq_cst);
}

template <typename Outside, typename Inside>
void TrackedRegion::WithCapture(Outside outside, Inside inside) {
  for (;;) {
    lifting_.fetch_add(1, std::memory_order_seq_cst);
    const bool no_capture = capture_.load(std::memory_order_seq_cst) == nullptr;
    if (no_capture) outside();
    lifting_.fetch_sub(1, std::memory_order_seq_cst);
    if (no_capture) return;
    using_.fetch_add(1, std::memory_order_seq_cst);
    FrozenMemory* capture = capture_.load(std::memory_order_seq_cst);
    if (capture != nullptr) inside(capture);
    using_.fetch_sub(1, std::memory_order_seq_cst);
    if (capture != nullptr) return;
  }
}

void TrackedRegion::Answer(const void* address) {
  WithCapture(
      [&] {
        const size_t unit = UnitOf(address);
        for (int refused = 0; Lift(UnitStart(unit), UnitLength(unit)) < 0;) {
          // The record ends here, and the write goes on.
          if (++refused > kRefusalsInPassing) return DropAll();
          nanosleep(&kBreath, nullptr);
        }
      },
      [&](FrozenMemory* capture) { capture->ResolveWrite(address); });
}

void TrackedRegion::GiveUp(int error_number) {
  WithCapture([this] { DropAll(); }, [&](FrozenMemory* capture) { capture->GiveUp(error_number); });
}

void TrackedRegion::BeginFreeze(FrozenMemory* capture) {
  capture_.store(capture, std::memory_order_seq_cst);
  while (lifting_.load(std::memory_order_seq_cst) > 0) sched_yield();
}

template <typename Each>
int TrackedRegion::ForEachLifted(size_t first, size_t end, Each each) {
  const auto is_lifted = [&](size_t unit) {
    return lifted_[unit].load(std::memory_order_seq_cst) != 0;
  };
  for (size_t unit = first; unit < end; unit++) {
    if (!is_lifted(unit)) continue;
    const size_t start = unit;
    while (unit + 1 < end && is_lifted(unit + 1)) unit++;
    std::byte* const run_end = UnitStart(unit) + UnitLength(unit);
    const int error = each(UnitStart(start), static_cast<size_t>(run_end - UnitStart(start)));
    if (error < 0) return error;
  }
  return 0;
}

int TrackedRegion::TakeWritten(uint64_t* frame) {
  if (userfaultfd_.dropped()) return -ENODEV;
  const std::lock_guard lock(mutex_);
  const auto protect = [this](std::byte* start, size_t length) {
    return userfaultfd_.Protect(start, length);
  };
  // Units that could not be protected keep their marks, because writes to them go unnoticed.
  if (const int error = ForEachLifted(0, unit_count_, protect); error < 0) return error;
  Written written{++last_frame_, std::vector<uint8_t>(unit_count_)};
  for (size_t unit = 0; unit < unit_count_; unit++) {
    written.units[unit] = changed_[unit].exchange(0, std::memory_order_seq_cst);
    lifted_[unit].store(0, std::memory_order_seq_cst);
  }
  written_.push_back(std::move(written));
  *frame = last_frame_;
  return 0;
}

std::vector<uint8_t> TrackedRegion::UnchangedSince(const FrameId& id, const std::string& section) {
  const std::lock_guard lock(mutex_);
  if (!has_base_ || base_id_ != id || base_section_ != section) return {};
  std::vector<uint8_t> unchanged(unit_count_, 1);
  for (const Written& written : written_) {
    for (size_t unit = 0; unit < unit_count_; unit++) {
      if (written.units[unit] != 0) unchanged[unit] = 0;
    }
  }
  return unchanged;
}

std::optional<uint64_t> TrackedRegion::WrittenBytes() {
  const std::lock_guard lock(mutex_);
  if (!has_base_) return std::nullopt;
  uint64_t bytes = 0;
  for (size_t unit = 0; unit < unit_count_; unit++) {
    const bool is_written = changed_[unit].load(std::memory_order_relaxed) != 0 ||
                            std::any_of(written_.begin(), written_.end(),
                                        [&](const Written& one) { return one.units[unit] != 0; });
    if (is_written) bytes += UnitLength(unit);
  }
  return bytes;
}

void TrackedRegion::EndCapture() {
  capture_.store(nullptr, std::memory_order_seq_cst);
  while (using_.load(std::memory_order_seq_cst) > 0) sched_yield();
  // A writer may have lifted a page after the last Release. A refusal does no harm here.
  Release(data_, length_);
}

int TrackedRegion::Lift(std::byte* start, size_t length) {
  if (length == 0) return 0;
  // Marks first: after the lift, writes go unnoticed.
  for (size_t unit = UnitOf(start); unit <= UnitOf(start + length - 1); unit++) Mark(unit);
  return userfaultfd_.Lift(start, length);
}

// Units that no writer has touched stay protected, so that the next write is noticed. A unit
// that was lifted in part is lifted as a whole: its marks are set, and only as a whole can it
// become a huge page again.
int TrackedRegion::Release(std::byte* start, size_t length) {
  if (length == 0) return 0;
  std::byte* const end = start + length;
  return ForEachLifted(UnitOf(start), UnitOf(end - 1) + 1, [&](std::byte* run, size_t run_length) {
    std::byte* const from = std::max(start, run);
    return userfaultfd_.Lift(from, static_cast<size_t>(std::min(end, run + run_length) - from));
  });
}

void TrackedRegion::DropAll() { userfaultfd_.DropAll(); }

void TrackedRegion::BecomeBase(uint64_t frame, const FrameId& id, const std::string& section) {
  const std::lock_guard lock(mutex_);
  // A later frame has already become the base.
  if (frame <= base_frame_) return;
  std::erase_if(written_, [&](const Written& written) { return written.frame <= frame; });
  base_frame_ = frame;
  has_base_ = true;
  base_id_ = id;
  base_section_ = section;
}

void TrackedRegion::GiveToNext(uint64_t frame) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(written_.begin(), written_.end(),
                                  [&](const Written& written) { return written.frame == frame; });
  if (found == written_.end()) return;
  const auto next = found + 1;
  for (size_t unit = 0; unit < unit_count_; unit++) {
    if (found->units[unit] == 0) continue;
    if (next != written_.end()) {
      next->units[unit] = 1;
    } else {
      changed_[unit].store(1, std::memory_order_seq_cst);
    }
  }
  written_.erase(found);
}

void TrackedRegion::ForgetBase() {
  const std::lock_guard lock(mutex_);
  has_base_ = false;
}

}  // namespace stillframe
