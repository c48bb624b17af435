// Promise I6 for memory that is handed out before its bytes are there: a thread that touches a page
// waits for exactly the bytes that were frozen, and bytes that cannot be read are never visible.
// Proved without Node, on images whose bytes arrive when the test lets them.

#include "restore/lazy_restore.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "image/parent_search.h"
#include "image/range_source.h"
#include "image/read_failure.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

using Sections = std::vector<SampleSection>;

// The bytes of files as if they came from far away: behind a gate, and counted.
class GatedFiles final : public RangeReader {
 public:
  explicit GatedFiles(std::vector<Bytes> files) : files_(std::move(files)) {}

  Status Read(uint32_t file, std::byte* out, uint64_t length, uint64_t offset) override {
    {
      std::unique_lock lock(mutex_);
      reads_++;
      bytes_ += length;
      changed_.notify_all();
      changed_.wait(lock, [&] { return let_through_ > 0 || stopped_; });
      if (stopped_) return ReadingAborted();
      if (failing_) return Fail(FailureCode::kIo, "the store is away");
      if (let_through_ != kAll) let_through_--;
    }
    EXPECT_LE(offset + length, files_[file].size());
    memcpy(out, files_[file].data() + offset, length);
    return Success{};
  }

  static constexpr int kAll = -1;
  // Lets this many reads through from now on, or all.
  void Let(int reads) {
    const std::lock_guard lock(mutex_);
    let_through_ = reads == kAll ? 1 << 30 : reads;
    changed_.notify_all();
  }
  void FailFromNowOn() {
    const std::lock_guard lock(mutex_);
    failing_ = true;
  }
  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  void AwaitReads(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return reads_ >= count; }));
  }
  int reads() {
    const std::lock_guard lock(mutex_);
    return reads_;
  }

 private:
  const std::vector<Bytes> files_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int let_through_ = 1 << 30;
  int reads_ = 0;
  uint64_t bytes_ = 0;
  bool failing_ = false;
  bool stopped_ = false;
};

// Sections of several blocks each, some of zeros, with lengths that end in the middle of a page.
Sections LargeSections() {
  Bytes holes(5 * kBlockSize + 100);
  const Bytes some = Pattern(kBlockSize, 7);
  std::copy(some.begin(), some.end(), holes.begin() + 2 * kBlockSize);
  return {{"first", Pattern(19 * kBlockSize + 5000, 1)},
          {"holes", holes},
          {"byte", Bytes(1, std::byte{42})},
          {"none", Bytes()}};
}

class LazyRestoreTest : public ::testing::TestWithParam<Layout> {
 protected:
  void SetUp() override {
    if (Result<std::unique_ptr<MissingPages>> pages = MissingPages::Create(); !pages.ok())
      GTEST_SKIP() << pages.failure().message;
    const MemoryFile file;
    WriteImage(file.fd(), sections_, "", GetParam());
    bytes_ = ReadAll(file.fd());
  }

  std::shared_ptr<GatedFiles> Far() {
    return std::make_shared<GatedFiles>(std::vector<Bytes>{bytes_});
  }

  static Result<ImageFile> Open(const std::shared_ptr<GatedFiles>& files, uint64_t length) {
    std::vector<NamedSource> chain;
    chain.push_back({std::make_unique<RangeSource>(files, 0, length), "file"});
    return OpenFrame(std::move(chain), {});
  }

  std::shared_ptr<LazyRestore> Start(const std::shared_ptr<GatedFiles>& files,
                                     const RestorePlan& plan = {}) {
    Result<ImageFile> image = Open(files, bytes_.size());
    EXPECT_TRUE(image.ok()) << image.failure().message;
    LazyRestore::Reads reads;
    reads.stop = [files] { files->Stop(); };
    files_before_ = files->reads();
    Result<std::shared_ptr<LazyRestore>> lazy =
        LazyRestore::Start(std::move(image.value()), plan, std::move(reads));
    EXPECT_TRUE(lazy.ok()) << lazy.failure().message;
    return lazy.value();
  }

  void ExpectAll(const LazyRestore& lazy) const {
    ASSERT_EQ(lazy.regions().size(), sections_.size());
    for (size_t i = 0; i < sections_.size(); i++) {
      const Bytes& expected = sections_[i].bytes;
      const RegionMemory& memory = *lazy.regions()[i].memory;
      ASSERT_EQ(memory.byte_length(), expected.size());
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), memory.data())) << i;
      // The last page has only zeros after the section.
      for (size_t at = expected.size(); at < memory.mapped_length(); at++)
        ASSERT_EQ(memory.data()[at], std::byte{0});
    }
  }

  const Sections sections_ = LargeSections();
  Bytes bytes_;
  int files_before_ = 0;
};

TEST_P(LazyRestoreTest, AllOfItComesByItself) {
  const std::shared_ptr<LazyRestore> lazy = Start(Far());
  ASSERT_TRUE(lazy->Finish().ok());
  ExpectAll(*lazy);
  EXPECT_EQ(lazy->control.bytes_done, lazy->control.bytes_total);
}

TEST_P(LazyRestoreTest, MemoryIsThereBeforeItsBytesAndAreadersOfAPageWaitForThem) {
  const auto files = Far();
  Result<ImageFile> image = Open(files, bytes_.size());
  ASSERT_TRUE(image.ok());
  files->Let(0);
  const int before = files->reads();
  Result<std::shared_ptr<LazyRestore>> lazy = LazyRestore::Start(std::move(image.value()), {}, {});
  ASSERT_TRUE(lazy.ok());
  RegionMemory& memory = *lazy.value()->regions()[0].memory;
  EXPECT_TRUE(memory.filling());
  EXPECT_TRUE(memory.busy());
  // Both threads of the background read by now. Before that, one of them would take the touch.
  files->AwaitReads(before + 2);
  std::atomic<bool> has_read{false};
  std::byte got{};
  std::thread reader([&] {
    got = memory.data()[17 * kBlockSize + 3];
    has_read = true;
  });
  // One more for the reader.
  files->AwaitReads(before + 3);
  EXPECT_FALSE(has_read);
  files->Let(GatedFiles::kAll);
  reader.join();
  EXPECT_EQ(got, sections_[0].bytes[17 * kBlockSize + 3]);
  ASSERT_TRUE(lazy.value()->Finish().ok());
  EXPECT_FALSE(memory.filling());
  EXPECT_FALSE(memory.busy());
  ExpectAll(*lazy.value());
}

TEST_P(LazyRestoreTest, WhatIsWrittenMeanwhileStays) {
  const std::shared_ptr<LazyRestore> lazy = Start(Far());
  RegionMemory& memory = *lazy->regions()[0].memory;
  for (uint64_t at = 77; at < memory.byte_length(); at += 40'000) memory.data()[at] = std::byte{1};
  ASSERT_TRUE(lazy->Finish().ok());
  for (uint64_t at = 77; at < memory.byte_length(); at += 40'000) {
    ASSERT_EQ(memory.data()[at], std::byte{1});
    ASSERT_EQ(memory.data()[at + 1], sections_[0].bytes[at + 1]);
  }
}

TEST_P(LazyRestoreTest, ManyThreadsSeeTheFrozenBytesOnly) {
  for (int round = 0; round < 10; round++) {
    const std::shared_ptr<LazyRestore> lazy = Start(Far());
    std::vector<std::thread> readers;
    std::atomic<int> wrong{0};
    for (uint32_t seed = 0; seed < 4; seed++) {
      readers.emplace_back([&, seed] {
        std::mt19937 random(seed + 10 * static_cast<uint32_t>(round));
        for (int i = 0; i < 200; i++) {
          const size_t section = random() % 3;
          const Bytes& expected = sections_[section].bytes;
          const size_t at = random() % expected.size();
          if (lazy->regions()[section].memory->data()[at] != expected[at]) wrong++;
        }
      });
    }
    ASSERT_TRUE(lazy->Finish().ok());
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(wrong, 0);
  }
}

using Place = std::pair<std::string, uint64_t>;

std::vector<Place> PlacesOf(const std::vector<FirstUse>& uses) {
  std::vector<Place> places;
  for (const auto& [section, offset] : uses) places.emplace_back(section, offset / kBlockSize);
  return places;
}

// The blocks that have arrived since the previous call with `there`.
std::vector<Place> Arrivals(const LazyRestore& lazy, std::set<Place>* there) {
  std::vector<Place> arrived;
  for (const RestoredRegion& region : lazy.regions()) {
    for (uint64_t at = 0; at < region.memory->byte_length(); at += kBlockSize) {
      unsigned char resident = 0;
      EXPECT_EQ(mincore(region.memory->data() + at, 1, &resident), 0);
      const Place place{region.section, at / kBlockSize};
      if ((resident & 1) != 0 && there->insert(place).second) arrived.push_back(place);
    }
  }
  return arrived;
}

TEST_P(LazyRestoreTest, TheBackgroundBeginsWithWhatWasUsedFirstTheLastTime) {
  const auto files = Far();
  Result<ImageFile> image = Open(files, bytes_.size());
  ASSERT_TRUE(image.ok());
  files->Let(0);
  const int before = files->reads();
  RestorePlan plan;
  // Some of these no longer exist, are zero or are listed twice.
  plan.first_uses = {{"first", 17 * kBlockSize},    {"other", 0},
                     {"first", 99 * kBlockSize},    {"holes", kBlockSize},
                     {"holes", 2 * kBlockSize + 9}, {"first", 17 * kBlockSize},
                     {"first", 3 * kBlockSize},     {"first", 4 * kBlockSize}};
  LazyRestore::Reads reads;
  reads.background = 1;
  const auto lazy = LazyRestore::Start(std::move(image.value()), plan, std::move(reads));
  ASSERT_TRUE(lazy.ok());
  const std::vector<Place> expected = {
      {"first", 17}, {"holes", 2}, {"first", 3}, {"first", 4}, {"first", 0}};
  std::set<Place> there;
  std::vector<Place> order;
  for (int reads_let = 1; order.size() < expected.size(); reads_let++) {
    files->Let(1);
    // The next read begins when this block has been filled in.
    files->AwaitReads(before + reads_let + 1);
    for (const Place& place : Arrivals(*lazy.value(), &there)) order.push_back(place);
    ASSERT_LT(reads_let, 20);
  }
  order.resize(expected.size());
  EXPECT_EQ(order, expected);
  // A block that a reader waits for is recorded after these.
  std::thread reader([&] {
    EXPECT_EQ(lazy.value()->regions()[0].memory->data()[12 * kBlockSize],
              sections_[0].bytes[12 * kBlockSize]);
  });
  const auto used = [&] { return PlacesOf(lazy.value()->FirstUses()); };
  for (int i = 0; i < 3000 && used().size() < 6; i++) usleep(10'000);
  files->Let(GatedFiles::kAll);
  reader.join();
  ASSERT_TRUE(lazy.value()->Finish().ok());
  ExpectAll(*lazy.value());
  const std::vector<Place> uses = {{"first", 17}, {"holes", 1}, {"holes", 2},
                                   {"first", 3},  {"first", 4}, {"first", 12}};
  EXPECT_EQ(used(), uses);
}

TEST_P(LazyRestoreTest, OnlyTheChosenSectionsAreRead) {
  const auto files = Far();
  RestorePlan plan;
  plan.sections = {"byte"};
  const std::shared_ptr<LazyRestore> lazy = Start(files, plan);
  ASSERT_TRUE(lazy->Finish().ok());
  ASSERT_EQ(lazy->regions().size(), 1U);
  EXPECT_EQ(*lazy->regions()[0].memory->data(), std::byte{42});
  EXPECT_EQ(files->reads(), files_before_ + 1);
}

// Runs `body` in a child, since it may end by a signal. Returns the signal, or minus the exit
// status.
template <typename Body>
int EndOf(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    alarm(30);
    _exit(body());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

// A sanitizer's own handler would end the process in another way.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_P(LazyRestoreTest, WhatCannotBeReadIsNeverSeen) {
  // A thread that waits for a missing page, or touches it later, is killed; a system call into it
  // fails; the rest stays readable.
  for (const bool waiting : {true, false}) {
    const int end = EndOf([&] {
      const auto files = Far();
      Result<ImageFile> image = Open(files, bytes_.size());
      files->Let(0);
      files->FailFromNowOn();
      LazyRestore::Reads reads;
      reads.stop = [files] { files->Stop(); };
      const std::shared_ptr<LazyRestore> lazy =
          LazyRestore::Start(std::move(image.value()), {}, std::move(reads)).value();
      RegionMemory& holes = *lazy->regions()[1].memory;
      std::thread([&] { (void)lazy->Finish(); }).detach();
      std::thread([&] {
        if (waiting) usleep(50'000);
        files->Let(GatedFiles::kAll);
      }).detach();
      if (!waiting) lazy->AwaitEnd();
      if (!waiting && holes.data()[0] != std::byte{0}) return 1;
      volatile std::byte* first = lazy->regions()[0].memory->data();
      for (size_t at = 0; at < sections_[0].bytes.size(); at += kPageSize) {
        if (first[at] != sections_[0].bytes[at]) return 2;
      }
      return 3;
    });
    EXPECT_TRUE(end == SIGSEGV) << end;
  }
}
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_P(LazyRestoreTest, WhatCannotBeReadIsNeverSeenWhereTheKernelRefusesToCloseIt) {
  const int end = EndOf([&] {
    const auto files = Far();
    Result<ImageFile> image = Open(files, bytes_.size());
    files->FailFromNowOn();
    LazyRestore::Reads reads;
    reads.stop = [files] { files->Stop(); };
    const std::shared_ptr<LazyRestore> lazy =
        LazyRestore::Start(std::move(image.value()), {}, std::move(reads)).value();
    FaultScope::Fail("mmap", 1, ENOMEM, true);
    if (lazy->Finish().ok()) return 1;
    alarm(1);
    volatile std::byte* bytes = lazy->regions()[0].memory->data();
    return bytes[18 * kBlockSize] == std::byte{0} ? 2 : 3;
  });
  EXPECT_EQ(end, SIGALRM);
}
#endif

TEST_P(LazyRestoreTest, AfterAFailureSystemCallsIntoWhatIsMissingFail) {
  const auto files = Far();
  Result<ImageFile> image = Open(files, bytes_.size());
  ASSERT_TRUE(image.ok());
  files->FailFromNowOn();
  LazyRestore::Reads reads;
  reads.stop = [files] { files->Stop(); };
  Result<std::shared_ptr<LazyRestore>> lazy =
      LazyRestore::Start(std::move(image.value()), {}, std::move(reads));
  ASSERT_TRUE(lazy.ok());
  Status finished = lazy.value()->Finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.failure().code, FailureCode::kIo);
  EXPECT_EQ(finished.failure().message, "the store is away");
  const RegionMemory& memory = *lazy.value()->regions()[0].memory;
  EXPECT_FALSE(memory.filling());
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], memory.data() + 18 * kBlockSize, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  close(ends[0]);
  close(ends[1]);
}

TEST_P(LazyRestoreTest, DamageIsToldAndNeverSeen) {
  ImageFile image = std::move(Open(Far(), bytes_.size()).value());
  // The middle of the last stored block of the first section.
  const BlockEntry& entry = image.EntryOf(image.sections()[0], 18);
  bytes_[entry.file_offset + entry.stored_length / 2] ^= std::byte{1};
  const std::shared_ptr<LazyRestore> lazy = Start(Far());
  Status finished = lazy->Finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.failure().code, FailureCode::kCorrupt);
  EXPECT_EQ(finished.failure().section, "first");
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], lazy->regions()[0].memory->data() + 18 * kBlockSize, 1), -1);
  close(ends[0]);
  close(ends[1]);
}

TEST_P(LazyRestoreTest, ACancellationWaitsForNoRead) {
  const auto files = Far();
  Result<ImageFile> image = Open(files, bytes_.size());
  ASSERT_TRUE(image.ok());
  files->Let(0);
  const int before = files->reads();
  LazyRestore::Reads reads;
  reads.stop = [files] { files->Stop(); };
  Result<std::shared_ptr<LazyRestore>> lazy =
      LazyRestore::Start(std::move(image.value()), {}, std::move(reads));
  ASSERT_TRUE(lazy.ok());
  files->AwaitReads(before + 2);
  std::thread finisher([&] {
    Status finished = lazy.value()->Finish();
    EXPECT_FALSE(finished.ok());
    EXPECT_EQ(finished.failure().code, FailureCode::kAborted);
  });
  lazy.value()->Cancel(ReadingAborted());
  lazy.value()->AwaitEnd();
  EXPECT_FALSE(lazy.value()->regions()[0].memory->busy());
  finisher.join();
}

TEST_P(LazyRestoreTest, OneThatNobodyHasFinishedEndsWithItsOwner) {
  const auto files = Far();
  const std::shared_ptr<RegionMemory> memory = Start(files)->regions()[0].memory;
  EXPECT_FALSE(memory->busy());
  EXPECT_FALSE(memory->filling());
}

TEST_P(LazyRestoreTest, WithoutUserfaultfdItIsRefused) {
  const FaultScope scope;
  FaultScope::Fail("userfaultfd", 1, EPERM, true);
  Result<ImageFile> image = Open(Far(), bytes_.size());
  Result<std::shared_ptr<LazyRestore>> lazy = LazyRestore::Start(std::move(image.value()), {}, {});
  if (lazy.ok()) GTEST_SKIP() << "/dev/userfaultfd may be used here";
  EXPECT_EQ(lazy.failure().code, FailureCode::kEngineUnavailable);
  EXPECT_NE(lazy.failure().message.find("Restore with another mode"), std::string::npos);
}

TEST_P(LazyRestoreTest, ChangesOfTheAddressSpaceThatInterruptAFillingDoNotEndIt) {
  const FaultScope scope;
  const std::shared_ptr<LazyRestore> lazy = [&] {
    Result<ImageFile> image = Open(Far(), bytes_.size());
    return LazyRestore::Start(std::move(image.value()), {}, {}).value();
  }();
  FaultScope::Fail("ioctl", 1, EAGAIN);
  ASSERT_TRUE(lazy->Finish().ok());
  ExpectAll(*lazy);
}

INSTANTIATE_TEST_SUITE_P(Layouts, LazyRestoreTest,
                         ::testing::Values(Layout::kFlat, Layout::kPacked), [](const auto& info) {
                           return info.param == Layout::kFlat ? "Flat" : "Packed";
                         });

TEST(RangeSource, TheEndsOfAFileAreAskedForOnce) {
  const MemoryFile file;
  WriteImage(file.fd(), SampleSections(), kSampleMetadata);
  const Bytes bytes = ReadAll(file.fd());
  const auto files = std::make_shared<GatedFiles>(std::vector<Bytes>{bytes});
  Result<ImageFile> image =
      ImageFile::Open(std::make_unique<RangeSource>(files, 0, bytes.size()), {});
  ASSERT_TRUE(image.ok()) << image.failure().message;
  EXPECT_EQ(files->reads(), 2);
  ReadControl control;
  EXPECT_TRUE(image.value().Verify(10, &control).value().empty());
}

TEST(RangeSource, WhatIsBeyondTheEndIsDamage) {
  const auto files = std::make_shared<GatedFiles>(std::vector<Bytes>{Bytes(100000)});
  const RangeSource source(files, 0, 100'000);
  std::byte out[16];
  for (const uint64_t offset : {uint64_t{99'990}, uint64_t{100'000}, ~uint64_t{0}}) {
    Status read = source.Read(out, sizeof out, offset, "s");
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.failure().code, FailureCode::kCorrupt);
    EXPECT_FALSE(source.ReadMuch(out, sizeof out, offset, "s").ok());
  }
  EXPECT_EQ(files->reads(), 0);
}

}  // namespace
}  // namespace stillframe::test
