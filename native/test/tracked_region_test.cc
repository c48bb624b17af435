// A write to a tracked region is in the frame of its instant or in the record of the next one,
// never in neither, and memory that was not written is neither read nor protected again. Tested
// with frames that build on one another, taken while threads write: each frame is checked for
// states that cannot exist at one instant and, whenever the threads are paused, compared with the
// memory. Also tested by ending frames in every order.
#include "freeze/tracked_region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <random>

#include "base/sys.h"
#include "freeze/frame_record.h"
#include "freeze/tracking_engine.h"
#include "memory/page.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr size_t kUnit = TrackedRegion::kUnitBytes;

// Frames of the same regions, each building on the last complete one.
class Frames {
 public:
  explicit Frames(Regions regions) : regions_(std::move(regions)) {
    std::vector<ImageDescription::Section> sections;
    for (const auto& region : regions_) {
      names_.push_back("r" + std::to_string(names_.size()));
      sections.push_back({names_.back(), region->byte_length()});
      states_.emplace_back(region->byte_length());
    }
    layout_ = PlanLayout(sections, kPacked.layout);
    sums_.resize(layout_.block_count * kPagesPerBlock);
  }

  // With `stop`, the frame is aborted right after the freeze.
  Status Take(uint64_t memory_limit, bool stop = false);
  // The contents that the last complete frame restores to.
  const std::vector<std::byte>& state(size_t region) const { return states_[region]; }
  uint64_t scanned_bytes() const { return scanned_bytes_; }
  const Regions& regions() const { return regions_; }

 private:
  static constexpr Encoding kPacked{Layout::kPacked, Codec::kNone, 0};
  void Apply(const ControlBlock& control, int file);

  const Regions regions_;
  std::vector<std::string> names_;
  ImageLayout layout_;
  std::vector<PageSum> sums_;
  std::vector<std::vector<std::byte>> states_;
  std::optional<FrameId> last_id_;
  uint8_t next_id_ = 0;
  uint64_t scanned_bytes_ = 0;
};

Status Frames::Take(uint64_t memory_limit, bool stop) {
  Result<ControlBlock> control = ControlBlock::Create(layout_.block_count, {2, kPacked});
  if (!control.ok()) return control.failure();
  memcpy(control.value().sums(), sums_.data(), sums_.size() * sizeof(PageSum));
  const UniqueFd file(memfd_create("frame", MFD_CLOEXEC));
  FileSink sink(file.get());
  FreezePlan plan;
  for (size_t i = 0; i < regions_.size(); i++) {
    const auto& region = regions_[i];
    plan.sources.push_back({region->data(), region->byte_length(), true, region, false, names_[i]});
  }
  plan.memory_limit = memory_limit;
  plan.track.parent = last_id_;
  SavePlan& save = plan.save;
  save.encoding = kPacked;
  save.sections = layout_.sections.data();
  save.section_count = static_cast<uint32_t>(layout_.sections.size());
  save.chunk_count = layout_.chunk_count;
  save.control = control.value().header();
  save.index = control.value().index();
  save.sums = control.value().sums();
  save.delta = last_id_.has_value();
  save.control->sums_ready = 1;
  save.control->file_tail = kPartAlignment;
  save.buffers = control.value().buffers();
  save.saver_count = control.value().saver_count();
  save.sink = &sink;

  TrackingEngine engine;
  if (Status ready = engine.Prepare(plan); !ready.ok()) return ready;
  if (Status frozen = engine.Freeze(); !frozen.ok()) return frozen;
  const std::shared_ptr<FrameRecord> record = engine.TakeRecord();
  if (Status attached = engine.Attach(); !attached.ok()) return attached;
  if (stop) engine.Stop();
  Status collected = engine.Collect();
  if (!collected.ok()) return collected;
  const FrameId id{++next_id_, 1};
  record->BecomeBase(id);
  last_id_ = id;
  scanned_bytes_ = save.control->scanned_bytes;
  memcpy(sums_.data(), save.sums, sums_.size() * sizeof(PageSum));
  Apply(control.value(), file.get());
  return Success{};
}

void Frames::Apply(const ControlBlock& control, int file) {
  std::vector<std::byte> stored(kBlockSize);
  for (uint64_t i = 0; i < layout_.block_count; i++) {
    const BlockEntry& entry = control.index()[i];
    std::vector<std::byte>& state = states_[entry.section];
    if (entry.present != 0) {
      ASSERT_EQ(
          pread(file, stored.data(), entry.stored_length, static_cast<off_t>(entry.file_offset)),
          static_cast<ssize_t>(entry.stored_length));
    }
    size_t from = 0;
    for (uint64_t page = 0; page < kPagesPerBlock; page++) {
      const uint64_t at = entry.block * kBlockSize + page * kPageSize;
      if (at >= state.size()) break;
      const size_t length = std::min(kPageSize, state.size() - at);
      if ((entry.present >> page & 1) != 0) {
        memcpy(state.data() + at, stored.data() + from, length);
        from += kPageSize;
      } else if ((entry.zero >> page & 1) != 0) {
        memset(state.data() + at, 0, length);
      }
    }
  }
}

// Threads that write according to rules, so that a frame of a single instant shows the rules
// obeyed, and that can be paused. The place of their writes moves slowly through the units, so that
// most units are unchanged for a while.
class MovingWriters {
 public:
  using Word = std::atomic<uint64_t>;
  static constexpr size_t kRegions = 3;
  static constexpr size_t kUnits = 5;
  static constexpr size_t kRegionBytes = kUnits * kUnit - 5 * 4096;
  static constexpr size_t kWriters = 3;

  MovingWriters() {
    for (size_t i = 0; i < kRegions; i++) regions_.push_back(TouchedRegion(kRegionBytes, i != 1));
    for (const auto& region : regions_) memset(region->data(), 0, kRegionBytes);
    for (size_t i = 0; i < kWriters; i++) threads_.emplace_back([this, i] { Write(i); });
  }
  ~MovingWriters() {
    Go();
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  // After it returns, nothing is written until Go().
  void Rest() {
    std::unique_lock lock(mutex_);
    rest_ = true;
    changed_.wait(lock, [this] { return resting_ == kWriters; });
  }
  void Go() {
    const std::lock_guard lock(mutex_);
    rest_ = false;
    changed_.notify_all();
  }

  const Regions& regions() const { return regions_; }

  // Number of rules that the restored contents of a frame break.
  int BrokenIn(const Frames& frames) const {
    int broken = 0;
    const auto holds = [](uint64_t cause, uint64_t effect) {
      return effect == cause || effect + 1 == cause;
    };
    for (size_t writer = 0; writer < kWriters; writer++) {
      // The cause and its effect are in different regions.
      uint64_t cause = 0;
      uint64_t effect = 0;
      for (size_t unit = 0; unit < kUnits; unit++) {
        cause = std::max(cause, WordIn(frames, writer, At(unit, writer, 0)));
        effect = std::max(effect, WordIn(frames, (writer + 1) % kRegions, At(unit, writer, 0)));
      }
      broken += !holds(cause, effect);
      for (size_t unit = 0; unit < kUnits; unit++) {
        for (size_t page = 1; page < 16; page++) {
          const size_t at = At(unit, writer, page);
          for (size_t region = 0; region < kRegions; region++) {
            broken += !holds(WordIn(frames, region, at), WordIn(frames, region, at + 4088));
          }
        }
      }
    }
    return broken;
  }

  uint64_t rounds() const { return rounds_; }

 private:
  // Offset of a writer's page in a unit. The pages are far enough apart to be in several blocks.
  static size_t At(size_t unit, size_t writer, size_t page) {
    return unit * kUnit + (page * 29 + writer * 7) * 4096;
  }
  static uint64_t WordIn(const Frames& frames, size_t region, size_t at) {
    uint64_t word = 0;
    memcpy(&word, frames.state(region).data() + at, sizeof word);
    return word;
  }
  Word* At(size_t region, size_t at) const {
    return reinterpret_cast<Word*>(regions_[region]->data() + at);
  }

  WRITES_MEMORY void Write(size_t writer) {
    std::minstd_rand random(static_cast<unsigned>(writer) + 1);
    for (uint64_t n = 1; !stop_.load(std::memory_order_relaxed); n++) {
      if (rest_.load(std::memory_order_relaxed)) WaitForGo();
      const size_t unit = (n >> 20) % kUnits;
      At(writer, At(unit, writer, 0))->store(n, std::memory_order_seq_cst);
      At((writer + 1) % kRegions, At(unit, writer, 0))->store(n, std::memory_order_seq_cst);
      const size_t page = At(unit, writer, 1 + random() / 64 % 15);
      const size_t region = random() / 64 % kRegions;
      const uint64_t next = At(region, page)->load(std::memory_order_relaxed) + 1;
      At(region, page)->store(next, std::memory_order_seq_cst);
      At(region, page + 4088)->store(next, std::memory_order_seq_cst);
      if (writer == 0) rounds_.store(n, std::memory_order_relaxed);
    }
  }

  void WaitForGo() {
    std::unique_lock lock(mutex_);
    resting_++;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !rest_; });
    resting_--;
  }

  Regions regions_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> rest_{false};
  size_t resting_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> rounds_{0};
};

class TrackedRegionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = Missing(Variant::kUserfaultfdThread); !why.empty()) {
      GTEST_SKIP() << why;
    }
  }
  const Watchdog watchdog_{std::chrono::seconds(LongMode() ? 1800 : 240)};
};

TEST_F(TrackedRegionTest, NoFrameIsTornAndNoWriteIsLost) {
  const int count = LongMode() ? 10'000 : 150;
  std::minstd_rand random(4711);
  MovingWriters writers;
  Frames frames(writers.regions());
  int torn = 0;
  int lost = 0;
  int aborted = 0;
  uint64_t spared_bytes = 0;
  for (int i = 0; i < count; i++) {
    // From four pages, with which writers mostly wait for the saver, to more pages than there are.
    const uint64_t limit = uint64_t{4 * 4096} << random() / 64 % 12;
    const bool stop = random() / 64 % 8 == 0;
    const bool rest = random() / 64 % 8 == 0;
    if (rest) writers.Rest();
    const Status taken = frames.Take(limit, stop);
    if (!taken.ok()) {
      aborted++;
      EXPECT_TRUE(stop) << Status(taken).failure().message;
    } else {
      const int broken = writers.BrokenIn(frames);
      torn += broken > 0;
      spared_bytes +=
          MovingWriters::kRegions * MovingWriters::kRegionBytes - frames.scanned_bytes();
      for (size_t region = 0; rest && region < MovingWriters::kRegions; region++) {
        lost += memcmp(frames.state(region).data(), writers.regions()[region]->data(),
                       MovingWriters::kRegionBytes) != 0;
      }
    }
    if (rest) writers.Go();
  }
  printf("[ counts   ] %d frames, %d aborted, %d torn, %d with lost writes, %" PRIu64
         " MiB not read, %" PRIu64 " rounds of the writers\n",
         count, aborted, torn, lost, spared_bytes >> 20, writers.rounds());
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(lost, 0);
  EXPECT_GT(spared_bytes, static_cast<uint64_t>(count) * kUnit);
}

// Takes and ends frames of one region by hand, without a capture.
class FrameEnds : public TrackedRegionTest {
 protected:
  void SetUp() override {
    TrackedRegionTest::SetUp();
    if (IsSkipped()) return;
    region_ = TouchedRegion(4 * kUnit, true);
    Result<std::shared_ptr<TrackedRegion>> tracked = TrackedRegion::Create(*region_);
    ASSERT_TRUE(tracked.ok());
    tracked_ = std::move(tracked.value());
    End(Take(), 1);
    Touch(0);
    one_ = Take();
    Touch(1);
    two_ = Take();
  }
  void TearDown() override { tracked_.reset(); }

  void Touch(size_t unit) { region_->data()[unit * kUnit + 5] = std::byte{2}; }
  uint64_t Take() {
    uint64_t frame = 0;
    EXPECT_EQ(tracked_->TakeWritten(&frame), 0);
    return frame;
  }
  void End(uint64_t frame, uint8_t id) { tracked_->BecomeBase(frame, FrameId{id}, "main"); }
  // The units possibly written since then; nullopt if unknown.
  std::optional<std::vector<size_t>> Since(uint8_t id) {
    Take();
    const std::vector<uint8_t> unchanged = tracked_->UnchangedSince(FrameId{id}, "main");
    if (unchanged.empty()) return std::nullopt;
    std::vector<size_t> changed;
    for (size_t unit = 0; unit < unchanged.size(); unit++) {
      if (unchanged[unit] == 0) changed.push_back(unit);
    }
    return changed;
  }

  using Units = std::vector<size_t>;
  std::shared_ptr<RegionMemory> region_;
  std::shared_ptr<TrackedRegion> tracked_;
  uint64_t one_ = 0;
  uint64_t two_ = 0;
};

TEST_F(FrameEnds, ACompleteFrameIsTheNewBase) {
  End(one_, 11);
  EXPECT_EQ(Since(1), std::nullopt);
  EXPECT_EQ(Since(11), Units{1});
  End(two_, 12);
  EXPECT_EQ(Since(12), Units{});
}

TEST_F(FrameEnds, TheLaterOneMayEndFirst) {
  End(two_, 12);
  EXPECT_EQ(Since(12), Units{});
  End(one_, 11);
  EXPECT_EQ(Since(11), std::nullopt);
  EXPECT_EQ(Since(12), Units{});
}

TEST_F(FrameEnds, AFrameThatFailsGivesItsUnitsToTheNextOne) {
  tracked_->GiveToNext(one_);
  EXPECT_EQ(Since(1), (Units{0, 1}));
  End(two_, 12);
  EXPECT_EQ(Since(12), Units{});
}

TEST_F(FrameEnds, TheLastOneThatFailsGivesThemToWhatFollows) {
  tracked_->GiveToNext(two_);
  End(one_, 11);
  EXPECT_EQ(Since(11), Units{1});
}

TEST_F(FrameEnds, NothingIsLostIfAllFail) {
  tracked_->GiveToNext(two_);
  tracked_->GiveToNext(one_);
  Touch(3);
  EXPECT_EQ(Since(1), (Units{0, 1, 3}));
}

TEST_F(FrameEnds, AFrameThatFailsBehindALaterBaseChangesNothing) {
  End(two_, 12);
  tracked_->GiveToNext(one_);
  EXPECT_EQ(Since(12), Units{});
}

TEST_F(FrameEnds, AnotherSectionIsAnotherBase) {
  EXPECT_TRUE(tracked_->UnchangedSince(FrameId{1}, "other").empty());
  EXPECT_FALSE(tracked_->UnchangedSince(FrameId{1}, "main").empty());
  tracked_->ForgetBase();
  EXPECT_TRUE(tracked_->UnchangedSince(FrameId{1}, "main").empty());
}

TEST_F(FrameEnds, WhatCouldNotBeProtectedStaysMarked) {
  const FaultScope faults;
  Touch(0);
  Touch(2);
  FaultScope::Fail("ioctl", 2, ENOMEM);
  uint64_t frame = 0;
  EXPECT_EQ(tracked_->TakeWritten(&frame), -ENOMEM);
  // The second unit can be written without a fault.
  Touch(2);
  EXPECT_EQ(Since(1), (Units{0, 1, 2}));
}

TEST_F(FrameEnds, AFreezeWaitsForAWriteThatIsBeingLetThrough) {
  {
    const FaultScope faults;
    // The ioctl fails until everything is dropped, which takes some milliseconds.
    FaultScope::Fail("ioctl", 1, ENOMEM, true);
    std::thread writer([this] { Touch(0); });
    while (sys::CallCount(sys::Call::kIoctl) == 0) std::this_thread::yield();
    // The capture is never used.
    auto* const capture = reinterpret_cast<FrozenMemory*>(this);
    tracked_->BeginFreeze(capture);
    uint64_t frame = 0;
    EXPECT_EQ(tracked_->TakeWritten(&frame), -ENODEV);
    writer.join();
  }
  tracked_->EndCapture();
}

// Number of write-protected pages in a unit; nullopt if the kernel does not report it.
std::optional<size_t> ProtectedPages(const RegionMemory& region, size_t unit) {
  constexpr uint64_t kProtectedByUserfaultfd = uint64_t{1} << 57;
  const UniqueFd pagemap(sys::Open(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0));
  std::vector<uint64_t> entries(kUnit / SystemPageSize());
  const size_t length = entries.size() * sizeof(uint64_t);
  const uint64_t first =
      reinterpret_cast<uintptr_t>(region.data() + unit * kUnit) / SystemPageSize();
  if (sys::Pread(pagemap.get(), entries.data(), length, first * sizeof(uint64_t)) !=
      static_cast<int64_t>(length)) {
    return std::nullopt;
  }
  return std::count_if(entries.begin(), entries.end(),
                       [](uint64_t entry) { return (entry & kProtectedByUserfaultfd) != 0; });
}

bool PagemapTells() {
  const auto region = TouchedRegion(kUnit, false);
  const Result<std::shared_ptr<TrackedRegion>> tracked = TrackedRegion::Create(*region);
  uint64_t frame = 0;
  return tracked.ok() && tracked.value()->TakeWritten(&frame) == 0 &&
         ProtectedPages(*region, 0) == kUnit / SystemPageSize();
}

TEST_F(TrackedRegionTest, BehindACaptureAUnitIsProtectedAsAWholeOrNotAtAll) {
  constexpr size_t kAll = kUnit / 4096;
  const auto region = TouchedRegion(4 * kUnit, true);
  Frames frames({region});
  ASSERT_TRUE(frames.Take(4 * kUnit).ok());
  if (!PagemapTells()) GTEST_SKIP() << "the pagemap does not tell what is protected";
  int lifted = 0;
  // On a busy machine the writer may be done before each capture for a while.
  for (int i = 0; i < 40 || (lifted == 0 && i < 1000); i++) {
    // Half of the unit's pages are written one by one, before, while or after the unit is saved.
    std::thread writer([&] {
      for (size_t at = 0; at < kUnit; at += 2 * 4096) {
        reinterpret_cast<std::atomic<uint8_t>*>(region->data() + at)->fetch_add(1);
      }
    });
    ASSERT_TRUE(frames.Take(4 * kUnit).ok());
    writer.join();
    const size_t pages = *ProtectedPages(*region, 0);
    EXPECT_TRUE(pages == 0 || pages == kAll) << pages;
    lifted += pages == 0;
    EXPECT_EQ(ProtectedPages(*region, 1), kAll);
    ASSERT_TRUE(frames.Take(4 * kUnit).ok());
    EXPECT_EQ(memcmp(frames.state(0).data(), region->data(), 4 * kUnit), 0);
  }
  EXPECT_GT(lifted, 0);
}

TEST_F(TrackedRegionTest, EndsWhenTheRegionLetsGo) {
  const auto region = TouchedRegion(4 * kUnit, true);
  {
    Frames frames({region});
    ASSERT_TRUE(frames.Take(4 * kUnit).ok());
    ASSERT_TRUE(TrackedRegion::Of(*region));
  }
  region->SetCompanion(nullptr);
  EXPECT_FALSE(TrackedRegion::Of(*region));
  // The memory can be registered again.
  EXPECT_TRUE(TrackedRegion::Create(*region).ok());
}

}  // namespace
}  // namespace stillframe::test
