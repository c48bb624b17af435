#include "capture/capture.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/disabled_steps.h"
#include "base/sys.h"
#include "base/thread.h"
#include "capture/parent_sums.h"
#include "image/file_sink.h"
#include "image/parent_search.h"
#include "image/tail.h"
#include "memory/huge_pages.h"
#include "memory/mapping_list.h"
#include "memory/page.h"

namespace stillframe {
namespace {

// Measured: with two savers, one keeps the disk busy while the other copies and hashes; with more,
// the disk has to seek. For compression every available processor is worth using.
uint32_t SaverCount(const Encoding& encoding, uint64_t chunk_count) {
  constexpr uint64_t kForTheDisk = 2;
  if (StepDisabled("helpers")) return 1;
  cpu_set_t processors;
  const bool known = sched_getaffinity(0, sizeof processors, &processors) == 0;
  const uint64_t wanted = encoding.codec != Codec::kNone && known
                              ? std::max<uint64_t>(CPU_COUNT(&processors), kForTheDisk)
                              : kForTheDisk;
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(std::min<uint64_t>(wanted, chunk_count), 1, kMaxSavers));
}

}  // namespace

struct Capture::Work {
  std::vector<CaptureSource> sources;
  ImageDescription image;
  ImageLayout layout;
  std::unique_ptr<ControlBlock> control;
  FileSink sink;
  FreezePlan plan;
  std::unique_ptr<Engine> engine;  // last: it uses the control block and the plan
  CaptureOutcome outcome;
  ParentRequest parent;  // only for a delta
  std::atomic<bool> given_up{false};
  std::atomic<bool> has_parent_failure{false};
  std::optional<Failure> parent_failure;  // written before has_parent_failure
};

bool AnyTracked(const std::vector<CaptureSource>& sources) {
  return std::any_of(sources.begin(), sources.end(), [](const CaptureSource& source) {
    return source.region.get() != nullptr && TrackedRegion::Of(*source.region.get()) != nullptr;
  });
}

Capture::Capture(CapturePlan plan, OnEnd on_end)
    : plan_(std::move(plan)), on_end_(std::move(on_end)), work_(std::make_shared<Work>()) {
  work_->sources = std::move(plan_.sources);
  work_->engine = std::move(plan_.engine);
}

Result<std::unique_ptr<Capture>> Capture::Start(CapturePlan plan, OnEnd on_end) {
  std::unique_ptr<Capture> capture(new Capture(std::move(plan), std::move(on_end)));
  Work& work = *capture->work_;
  Supervisor& supervisor = capture->supervisor_;
  Status ready = capture->Prepare();
  if (ready.ok()) {
    supervisor.NoteInstant();
    const ImageFile* chain = capture->plan_.chain.get();
    work.image.frozen_at_ns =
        chain != nullptr ? chain->header().frozen_at_ns : supervisor.frozen_at_ns();
    ready = work.engine->Freeze();
  }
  if (ready.ok()) capture->record_ = work.engine->TakeRecord();
  capture->pid_ = work.engine->pid();
  supervisor.Frozen(ready.ok());
  if (!ready.ok()) return ready.failure();
  return capture;
}

Capture::~Capture() {
  Abort();
  supervisor_.Join();
}

CaptureProgress Capture::Progress() const {
  const ControlHeader* control = work_->control->header();
  return {control->bytes_done.load(std::memory_order_relaxed), work_->layout.byte_length,
          control->bytes_written.load(std::memory_order_relaxed),
          copied_bytes_.load(std::memory_order_relaxed)};
}

Status Capture::Prepare() {
  Work& work = *work_;
  work.image.id = plan_.id;
  work.image.metadata = std::move(plan_.metadata);
  if (plan_.chain) {
    if (IsOfChain(*plan_.chain, plan_.target.path)) {
      return Fail(FailureCode::kParent,
                  "a compaction makes a new file, and takes the place of none that it is made of");
    }
    work.image.metadata = plan_.chain->metadata();
    work.image.expected_state = plan_.chain->trailer().state;
    for (const auto& section : plan_.chain->sections()) {
      work.image.sections.push_back({section.name, section.byte_length});
    }
  }
  for (const CaptureSource& source : work.sources) {
    work.image.sections.push_back({source.name, source.byte_length});
    work.plan.sources.push_back({source.data, source.byte_length, source.dont_fork,
                                 source.region.memory(), source.region.get() == nullptr,
                                 source.name});
  }
  work.layout = PlanLayout(work.image.sections, plan_.encoding.layout);
  const ImageLayout& layout = work.layout;
  if (Status open = supervisor_.Open(plan_.target); !open.ok()) return open;

  const bool packed = plan_.encoding.layout == Layout::kPacked;
  const SaverNeeds needs{SaverCount(plan_.encoding, layout.chunk_count), plan_.encoding};
  Result<ControlBlock> control = ControlBlock::Create(layout.block_count, needs);
  if (!control.ok()) return control.failure();
  work.control = std::make_unique<ControlBlock>(std::move(control.value()));
  if (!plan_.parent.empty()) {
    work.parent.path = plan_.parent;
    PrepareRecord();
    work.parent.id = plan_.parent_id;
    work.parent.places = plan_.parents;
    work.parent.target_path = plan_.target.path;
    work.parent.image = &work.image;
    work.parent.layout = &work.layout;
    work.parent.sums = work.control->sums();
    for (const CaptureSource& source : work.sources) {
      const RegionMemory* region = source.region.get();
      work.parent.mapped_from.push_back(region != nullptr ? region->mapped_from() : std::nullopt);
      if (work.parent.mapped_from.back()) work.parent.as_mapped = work.control->as_mapped();
    }
    // No saver works while the sums are being read, and without a heartbeat the supervisor would
    // take that for a stall.
    work.parent.cancelled = [&work] {
      work.control->header()->heartbeat.fetch_add(1, std::memory_order_relaxed);
      return work.given_up.load(std::memory_order_relaxed);
    };
  }
  work.control->header()->file_tail.store(kPartAlignment, std::memory_order_relaxed);

  SavePlan& save = work.plan.save;
  save.sections = layout.sections.data();
  save.section_count = static_cast<uint32_t>(layout.sections.size());
  save.chunk_count = layout.chunk_count;
  save.control = work.control->header();
  save.index = work.control->index();
  save.sums = work.control->sums();
  save.delta = !plan_.parent.empty();
  save.as_mapped = work.parent.as_mapped;
  save.encoding = plan_.encoding;
  save.data_end = layout.data_end;
  save.buffers = work.control->buffers();
  save.saver_count = work.control->saver_count();
  save.pacing = plan_.pacing;
  work.sink = FileSink(supervisor_.target().fd());
  save.sink = &work.sink;
  work.plan.memory_limit = plan_.limits.MemoryLimit();
  work.plan.at_limit = plan_.limits.at_limit;
  work.plan.track.may_be_pinned = plan_.may_be_pinned;
  // The size of compressed pages is not known in advance, so packed files are not checked.
  if (!packed && !plan_.chain) {
    constexpr uint64_t kOverheadOfABlock = sizeof(BlockEntry) + kPagesPerBlock * sizeof(PageSum);
    space_.emplace(supervisor_.target().fd(), work.plan.sources,
                   layout.block_count * kOverheadOfABlock);
    work.plan.will_peek = !space_->finished();
  }
  if (Status prepared = work.engine->Prepare(work.plan); !prepared.ok()) return prepared;
  return supervisor_.Start(this, work.control->header(), plan_.limits);
}

Status Capture::Attach() {
  schedule_.emplace(work_->plan.memory_limit);
  if (!work_->parent.path.empty()) {
    Status reads =
        Thread::StartDetached("stillframe-sums", [work = work_] { ReadParent(work.get()); });
    if (!reads.ok()) return reads;
  }
  if (Status attached = work_->engine->Attach(); !attached.ok()) return attached;
  if (plan_.limits.memory_limit == 0) LookAtAvailableMemory();
  return CheckSources();
}

// The record is useful only for a delta of the frame that the record starts with, and the id of
// that frame has to be known before the freeze. If the parent file turns out to be a different one
// when its sums are read, the capture fails.
void Capture::PrepareRecord() {
  if (!AnyTracked(work_->sources)) return;
  if (!plan_.parent_id) plan_.parent_id = IdOfFile(plan_.parent);
  work_->plan.track.parent = plan_.parent_id;
}

// Called before the end is reported, since the next frame may build on this one at once.
void Capture::EndRecord(bool complete) {
  const bool becomes_base =
      complete && plan_.tracking == Tracking::kStart && !plan_.may_be_pinned && record_ != nullptr;
  if (becomes_base) record_->BecomeBase(plan_.id);
  record_.reset();
  if (plan_.tracking != Tracking::kStop) return;
  for (const CaptureSource& source : work_->sources) {
    if (source.region.get() != nullptr) source.region.get()->SetCompanion(nullptr);
  }
}

int Capture::wait_fd() const { return work_->engine->wait_fd(); }

uint64_t Capture::Pulse() const {
  return work_->control->header()->heartbeat.load(std::memory_order_relaxed);
}

Status Capture::Look() {
  Engine& engine = *work_->engine;
  if (work_->has_parent_failure.load(std::memory_order_acquire)) return *work_->parent_failure;
  if (Status sound = engine.Check(); !sound.ok()) return sound;
  if (space_ && !space_->finished()) {
    if (Status fits = space_->Step(&engine); !fits.ok()) return fits;
  }
  if (!schedule_->Due()) return Success{};
  const int64_t started_ns = MonotonicNanoseconds();
  Result<CopyCost> cost = engine.Cost();
  if (cost.ok()) {
    schedule_->Measured(started_ns, cost.value().bytes);
  } else {
    // If the cost cannot be measured, the upper bound from page faults replaces it.
    const uint64_t bound = schedule_->UpperBound();
    cost = CopyCost{bound, std::max(bound, last_cost_.bytes_peak), bound / SystemPageSize()};
  }
  RecordCost(cost.value());
  const uint64_t bytes = cost.value().bytes;
  const uint64_t limit = work_->plan.memory_limit;
  if (bytes <= limit || engine.keeps_limit()) return Success{};
  return Fail(FailureCode::kMemoryLimit, "copy-on-write has taken " + std::to_string(bytes) +
                                             " bytes, the limit is " + std::to_string(limit) +
                                             " (memoryLimit)");
}

Status Capture::Saved(Status so_far) {
  Engine& engine = *work_->engine;
  if (!so_far.ok()) {
    engine.Stop();
    return so_far;
  }
  // The cost of a forked child can no longer be measured once it has ended. If it never was, the
  // upper bound from page faults takes its place.
  const Result<CopyCost> cost = engine.Cost();
  const uint64_t bound = std::min(schedule_->UpperBound(), work_->layout.byte_length);
  if (cost.ok()) {
    RecordCost(cost.value());
  } else if (!schedule_->measured()) {
    RecordCost({bound, bound, bound / SystemPageSize()});
  }
  return Success{};
}

DiskWork::LastSteps Capture::LastSteps() {
  return [work = work_](int target_fd, PublishTurn* turn) {
    return FinishFile(work.get(), target_fd, turn);
  };
}

void Capture::Ended(Status ended) {
  work_->given_up = true;
  EndRecord(ended.ok());
  Result<CaptureOutcome> outcome =
      ended.ok() ? Result<CaptureOutcome>(Outcome()) : Result<CaptureOutcome>(ended.failure());
  // Work that is held up by the disk releases its resources once the disk continues. Until then the
  // memory stays busy.
  if (!supervisor_.left_behind()) {
    // This precedes the report of the end, since the listener may start the next capture at once.
    std::vector<std::shared_ptr<RegionMemory>> regions;
    for (const CaptureSource& source : work_->sources) {
      if (source.region.get() != nullptr) regions.push_back(source.region.memory());
    }
    work_->sources.clear();
    work_->plan.sources.clear();
    work_->control->DropSums();
    CollapseInBackground(std::move(regions));
  }
  on_end_(std::move(outcome));
}

CaptureOutcome Capture::Outcome() const {
  CaptureOutcome outcome = work_->outcome;
  for (const SaveSection& section : work_->layout.sections) {
    outcome.pages_total += DivideRoundingUp(section.byte_length, kPageSize);
  }
  outcome.pages_zero = work_->control->header()->zero_pages.load(std::memory_order_relaxed);
  outcome.copied_bytes_peak = last_cost_.bytes_peak;
  outcome.pages_copied = last_cost_.pages * SystemPageSize() / kPageSize;
  outcome.duration_ms = supervisor_.MillisecondsSinceFreeze();
  outcome.parent = work_->image.parent;
  const ControlHeader& header = *work_->control->header();
  outcome.changed_bytes = outcome.parent
                              ? header.changed_pages.load(std::memory_order_relaxed) * kPageSize
                              : work_->layout.byte_length;
  outcome.scanned_bytes = outcome.parent ? header.scanned_bytes.load(std::memory_order_relaxed) : 0;
  return outcome;
}

Status Capture::FinishFile(Work* work, int target_fd, PublishTurn* turn) {
  turn->Enter("waiting for the end of the saving");
  Status collected = work->engine->Collect();
  // The memory of the engine is no longer needed, and the disk may take long.
  work->engine.reset();
  if (!collected.ok() || turn->given_up()) return collected;

  turn->Enter("writing the header and the index");
  const ImageLayout& layout = work->layout;
  const ControlBlock& control = *work->control;
  uint64_t tail_offset = layout.data_end;
  if (layout.layout == Layout::kPacked) {
    // Cut off the part of the file that the blocks did not need.
    const uint64_t end = control.header()->file_tail.load(std::memory_order_relaxed);
    tail_offset = RoundUp(end, kPartAlignment);
    if (const int error = sys::Ftruncate(target_fd, tail_offset); error < 0) {
      return SystemFailure("ftruncate", -error, "cannot give the snapshot file its length");
    }
  }
  // Pairs with the store at the end of ReadParent(), which has filled in image.parent.
  control.header()->sums_ready.load(std::memory_order_acquire);
  FileSink sink(target_fd);
  Result<uint64_t> length = WriteHeaderAndTail(&sink, work->image, layout,
                                               {control.index(), control.sums()}, tail_offset);
  if (!length.ok()) return length.failure();
  work->outcome.file_length = length.value();
  Result<uint64_t> allocated = AllocatedBytes(target_fd);
  if (!allocated.ok()) return allocated.failure();
  work->outcome.allocated_bytes = allocated.value();
  return Success{};
}

// Runs on its own thread, after the memory has been frozen.
void Capture::ReadParent(Work* work) {
  Result<ParentMark> mark = ReadParentSums(work->parent);
  if (!mark.ok()) {
    work->parent_failure = mark.failure();
    work->has_parent_failure.store(true, std::memory_order_release);
    return;
  }
  work->image.parent = mark.value();
  ControlHeader* control = work->control->header();
  control->sums_ready.store(1, std::memory_order_release);
  sys::Futex(&control->sums_ready, FUTEX_WAKE, INT_MAX, nullptr);
}

Status Capture::CheckSources() const {
  Result<MappingList> mappings = MappingList::Read();
  if (!mappings.ok()) return Success{};  // without /proc the child detects it by itself
  for (const CaptureSource& source : work_->sources) {
    if (source.region.get() != nullptr || source.byte_length == 0) continue;
    if (mappings.value().SharingOf(source.data, source.byte_length) != Sharing::kShared) continue;
    return Fail(FailureCode::kEngineUnavailable,
                "section '" + source.name +
                    "' lies in memory that is mapped as shared (MAP_SHARED), which no engine can "
                    "freeze; copy it into a Region or an ArrayBuffer first");
  }
  return Success{};
}

void Capture::RecordCost(const CopyCost& cost) {
  copied_bytes_.store(cost.bytes, std::memory_order_relaxed);
  last_cost_ = cost;
}

}  // namespace stillframe
