// The saver writes exactly what was frozen, and reports every failed write with its place. Tested
// with frozen pages in plain memory, a real file, injected errors and a file size limit.
#include "image/saver.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "image/block_codec.h"
#include "image/checksum.h"
#include "image/control_block.h"
#include "image/file_sink.h"
#include "image/page_presence.h"
#include "image/tail.h"
#include "image/zero_page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr uint64_t kChunk = kChunkSize;

Bytes BlockWithPages(std::initializer_list<uint64_t> pages, uint64_t length = kBlockSize) {
  Bytes block(length);
  for (const uint64_t page : pages) block[page * kPageSize + page % kPageSize] = std::byte{1};
  return block;
}

TEST(PagePresence, NamesThePagesThatHoldAByte) {
  const Bytes block = BlockWithPages({0, 5, 63});
  EXPECT_EQ(PresentPages(block.data(), block.size()),
            uint64_t{1} | uint64_t{1} << 5 | uint64_t{1} << 63);
  EXPECT_EQ(PresentPages(Bytes(kBlockSize).data(), kBlockSize), 0U);
}

TEST(PagePresence, FindsALoneByteAnywhereInThePage) {
  for (size_t at = 0; at < kPageSize; at++) {
    Bytes page(kPageSize);
    page[at] = std::byte{0x80};
    ASSERT_EQ(PresentPages(page.data(), page.size()), 1U) << at;
  }
}

TEST(PagePresence, TakesBytesOfAnyAlignment) {
  Bytes bytes(kPageSize + 8);
  bytes[kPageSize + 2] = std::byte{1};
  EXPECT_FALSE(IsZeroPage(bytes.data() + 3));
  EXPECT_TRUE(IsZeroPage(bytes.data() + 1));
}

// Fixture: the plan of a saver for sections in memory, with a file of its own.
class Saver : public ::testing::Test {
 protected:
  void Plan(std::vector<SampleSection> sections, int flags = 0, Layout layout = Layout::kFlat,
            uint32_t savers = 1, Codec codec = Codec::kZstd) {
    sections_ = std::move(sections);
    std::vector<ImageDescription::Section> described;
    for (const auto& section : sections_) described.push_back({section.name, section.bytes.size()});
    layout_ = PlanLayout(described, layout);
    plan_.encoding = {layout, layout == Layout::kPacked ? codec : Codec::kNone, kLevel};
    Result<ControlBlock> control =
        ControlBlock::Create(layout_.block_count, {savers, plan_.encoding});
    ASSERT_TRUE(control.ok());
    control_.emplace(std::move(control.value()));
    pages_.emplace(sections_);
    fd_.Reset(open(directory_.File("image").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | flags,
                   0600));
    ASSERT_TRUE(fd_.valid()) << strerror(errno);
    plan_.sections = layout_.sections.data();
    plan_.section_count = static_cast<uint32_t>(layout_.sections.size());
    plan_.chunk_count = layout_.chunk_count;
    plan_.pages = &*pages_;
    plan_.control = control_->header();
    plan_.index = control_->index();
    plan_.sums = control_->sums();
    plan_.control->file_tail = kPartAlignment;
    plan_.buffers = control_->buffers();
    plan_.saver_count = control_->saver_count();
    sink_ = FileSink(fd_.get());
    plan_.sink = &sink_;
    // The previous contents of a bounce buffer must not appear in the file.
    memset(plan_.buffers[0].bounce, 0xee, kChunk);
  }

  // Expects that the file, from the sections on, holds the pages as they were, and zeros elsewhere.
  void ExpectSaved() {
    Bytes expected(layout_.data_end);
    for (size_t i = 0; i < sections_.size(); i++) {
      const Bytes& bytes = sections_[i].bytes;
      std::copy(bytes.begin(), bytes.end(),
                expected.begin() + static_cast<int64_t>(layout_.sections[i].data_offset));
    }
    Bytes found = ReadAll(directory_.File("image"));
    ASSERT_LE(found.size(), expected.size()) << "something was written behind the sections";
    found.resize(expected.size());
    EXPECT_TRUE(found == expected);
  }

  // Runs all savers of the plan at the same time, each in its own thread.
  SaveEnd SaveTogether() {
    std::vector<std::thread> threads;
    std::vector<SaveEnd> ends(plan_.saver_count);
    for (uint32_t i = 0; i < plan_.saver_count; i++) {
      threads.emplace_back([this, &ends, i] { ends[i] = SaveChunks(plan_, i); });
    }
    for (std::thread& thread : threads) thread.join();
    return *std::max_element(ends.begin(), ends.end());
  }

  // The original block of an entry: read from a packed file, decompressed, with its zero pages
  // reinserted.
  Bytes Unpack(size_t i) {
    const BlockEntry& entry = Entry(i);
    const uint64_t length =
        PaddedBlockLength(layout_.sections[entry.section].byte_length, entry.block);
    Bytes stored(entry.stored_length);
    const UniqueFd fd(open(directory_.File("image").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(pread(fd.get(), stored.data(), stored.size(), static_cast<off_t>(entry.file_offset)),
              static_cast<ssize_t>(stored.size()));
    EXPECT_EQ(entry.present != 0 ? ChecksumOfStored(entry, stored.data()) : 0, entry.checksum);
    Bytes dense(static_cast<size_t>(std::popcount(entry.present)) * kPageSize);
    if (entry.codec == Codec::kZstd) {
      Bytes workspace(BlockDecompressor::WorkspaceBytes());
      BlockDecompressor decompressor(workspace.data());
      EXPECT_TRUE(
          decompressor.Decompress(stored.data(), stored.size(), dense.data(), dense.size()));
    } else {
      EXPECT_EQ(stored.size(), dense.size());
      dense = stored;
    }
    Bytes block(length);
    for (uint64_t page = 0, from = 0; page < length / kPageSize; page++) {
      if ((entry.present >> page & 1) == 0) continue;
      std::copy_n(dense.begin() + static_cast<int64_t>(from++ * kPageSize), kPageSize,
                  block.begin() + static_cast<int64_t>(page * kPageSize));
    }
    return block;
  }

  void ExpectPacked() {
    size_t entry = 0;
    for (const SampleSection& section : sections_) {
      for (uint64_t at = 0; at < section.bytes.size(); at += kBlockSize, entry++) {
        const uint64_t count = std::min<uint64_t>(kBlockSize, section.bytes.size() - at);
        const auto from = section.bytes.begin() + static_cast<int64_t>(at);
        Bytes expected(from, from + static_cast<int64_t>(count));
        expected.resize(RoundUp(count, kPageSize));
        EXPECT_TRUE(Unpack(entry) == expected) << section.name << ", byte " << at;
      }
    }
    EXPECT_EQ(entry, layout_.block_count);
  }

  static constexpr int kLevel = 1;
  const BlockEntry& Entry(size_t i) const { return plan_.index[i]; }
  void ExpectFailure(SaveStep step, int error_number, uint64_t offset) {
    EXPECT_EQ(plan_.control->error_number.load(), error_number);
    EXPECT_EQ(plan_.control->error_step.load(), step) << SaveStepName(plan_.control->error_step);
    EXPECT_EQ(plan_.control->error_offset.load(), offset);
  }

  TemporaryDirectory directory_;
  FaultScope faults_;
  std::vector<SampleSection> sections_;
  ImageLayout layout_;
  FileSink sink_;
  std::optional<ControlBlock> control_;
  std::optional<MemoryPages> pages_;
  UniqueFd fd_;
  SavePlan plan_{};
};

TEST_F(Saver, SavesSectionsOfAllShapes) {
  Bytes holes(3 * kBlockSize);
  holes[kBlockSize + 17] = std::byte{1};
  Plan({{"one byte", Pattern(1, 1)},
        {"empty", {}},
        {"a page", Pattern(kPageSize, 2)},
        {"a block and a byte", Pattern(kBlockSize + 1, 3)},
        {"holes", holes},
        {"more than a chunk", Pattern(kChunk + kBlockSize + kPageSize / 2, 4)},
        {"empty at the end", {}}});
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  ExpectSaved();
  uint64_t pages = 0;
  uint64_t present = 0;
  size_t entry = 0;
  for (uint32_t section = 0; section < sections_.size(); section++) {
    const uint64_t length = sections_[section].bytes.size();
    pages += DivideRoundingUp(length, kPageSize);
    for (uint32_t block = 0; block < BlockCount(length); block++, entry++) {
      const BlockEntry& found = Entry(entry);
      EXPECT_EQ(found.section, section);
      EXPECT_EQ(found.block, block);
      EXPECT_EQ(found.codec, Codec::kNone);
      EXPECT_EQ(found.reserved, 0U);
      present += static_cast<uint64_t>(std::popcount(found.present));
      const uint64_t at = layout_.sections[section].data_offset + block * kBlockSize;
      EXPECT_EQ(found.file_offset, found.present != 0 ? at : 0);
      EXPECT_EQ(found.stored_length, found.present != 0 ? PaddedBlockLength(length, block) : 0);
    }
  }
  EXPECT_EQ(entry, layout_.block_count);
  EXPECT_EQ(plan_.control->bytes_done.load(), layout_.byte_length);
  EXPECT_EQ(pages_->released_bytes(), layout_.byte_length);
  EXPECT_EQ(plan_.control->zero_pages.load(), pages - present);
  EXPECT_EQ(plan_.control->error_number.load(), 0);
}

TEST_F(Saver, ALaterErrorDoesNotTakeThePlaceOfTheFirst) {
  Plan({{"main", Pattern(kBlockSize, 1)}});
  // Another saver has failed, and is about to write down its error.
  plan_.control->error_taken = 1;
  FaultScope::Fail("pwrite", 1, EIO);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kFailed);
  ExpectFailure(SaveStep::kNone, 0, 0);
}

TEST_F(Saver, BlocksOfZerosStayHolesAndRunsAreOneWrite) {
  Bytes bytes(6 * kBlockSize);
  // Blocks 0, 1 and 4, 5 contain data: two runs.
  for (const size_t block : {0, 1, 4, 5}) bytes[block * kBlockSize] = std::byte{1};
  Plan({{"main", bytes}});
  FaultScope::Count("pwrite");
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_EQ(sys::CallCount(sys::Call::kPwrite), 2U);
  EXPECT_EQ(plan_.control->bytes_written.load(), 4 * kBlockSize);
  ExpectSaved();
  const off_t hole = lseek(fd_.get(), static_cast<off_t>(kPartAlignment), SEEK_HOLE);
  EXPECT_EQ(hole, static_cast<off_t>(kPartAlignment + 2 * kBlockSize));
}

TEST_F(Saver, NothingButZerosWritesNothing) {
  Plan({{"main", Bytes(kChunk + 5)}});
  FaultScope::Count("pwrite");
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_EQ(sys::CallCount(sys::Call::kPwrite), 0U);
  EXPECT_EQ(plan_.control->bytes_done.load(), kChunk + 5);
}

TEST_F(Saver, ThePaddingOfTheLastPageIsZero) {
  Plan({{"main", Pattern(100, 1)}});
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  const Bytes file = ReadAll(fd_.get());
  ASSERT_EQ(file.size(), kPartAlignment + kPageSize);
  EXPECT_TRUE(std::all_of(file.begin() + static_cast<int64_t>(kPartAlignment) + 100, file.end(),
                          [](std::byte byte) { return byte == std::byte{0}; }))
      << "bytes of the bounce buffer leaked into the file";
}

TEST_F(Saver, WritesAgainAfterAnInterruption) {
  Plan({{"main", Pattern(kChunk * 2, 1)}});
  FaultScope::Fail("pwrite", 2, EINTR);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_EQ(sys::CallCount(sys::Call::kPwrite), 3U);
  ExpectSaved();
}

TEST_F(Saver, AWriteThatGetsNoFurtherIsAnError) {
  for (const auto& [answer, error] : {std::pair(sys::kAnswersNothing, EIO), {EINTR, EINTR}}) {
    Plan({{"main", Pattern(kChunk * 2, 1)}});
    FaultScope::Fail("pwrite", 2, answer, true);
    EXPECT_EQ(SaveChunks(plan_), SaveEnd::kFailed);
    ExpectFailure(SaveStep::kWriting, error, kPartAlignment + kChunk);
    EXPECT_LT(sys::CallCount(sys::Call::kPwrite), 200U) << "it was tried again and again";
    sys::ClearFaults();
  }
}

TEST_F(Saver, LeavesDirectModeWhereAWriteRefusesIt) {
  Plan({{"main", Pattern(kBlockSize, 1)}}, O_DIRECT);
  FaultScope::Fail("pwrite", 1, EINVAL);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_EQ(fcntl(fd_.get(), F_GETFL) & O_DIRECT, 0);
  ExpectSaved();
}

TEST_F(Saver, AlignsEveryWriteForDirectMode) {
  Plan({{"a", Pattern(kPageSize + 1, 1)}, {"b", Pattern(kChunk + 77, 2)}}, O_DIRECT);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_NE(fcntl(fd_.get(), F_GETFL) & O_DIRECT, 0) << "direct mode was refused";
  ExpectSaved();
}

TEST_F(Saver, AnInvalidWriteWithoutDirectModeIsAnError) {
  Plan({{"main", Pattern(kBlockSize, 1)}});
  FaultScope::Fail("pwrite", 1, EINVAL, true);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kFailed);
  ExpectFailure(SaveStep::kWriting, EINVAL, kPartAlignment);
}

TEST_F(Saver, AFailedWriteIsReportedWithItsPlaceAndNotRetried) {
  for (const int error : {ENOSPC, EIO, EDQUOT}) {
    Plan({{"first", Pattern(kChunk, 1)}, {"second", Pattern(kChunk * 2, 2)}});
    FaultScope::Fail("pwrite", 3, error);
    EXPECT_EQ(SaveChunks(plan_), SaveEnd::kFailed);
    ExpectFailure(SaveStep::kWriting, error, layout_.sections[1].data_offset + kChunk);
    EXPECT_EQ(sys::CallCount(sys::Call::kPwrite), 3U);
    EXPECT_EQ(plan_.control->bytes_done.load(), 2 * kChunk) << "the failed chunk counts as saved";
    EXPECT_EQ(pages_->released_bytes(), 2 * kChunk) << "pages that are not saved were given back";
  }
}

// Limits the length of files that this process can write.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = signal(SIGXFSZ, SIG_IGN);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST_F(Saver, GoesOnAfterAShortWriteAndThenSaysWhatIsWrong) {
  Plan({{"main", Pattern(kBlockSize, 1)}});
  FaultScope::Count("pwrite");
  {
    // Two and a half pages fit: a short write, the half page again, then the error.
    const FileSizeLimit limit(kPartAlignment + 2 * kPageSize + kPageSize / 2);
    EXPECT_EQ(SaveChunks(plan_), SaveEnd::kFailed);
  }
  ExpectFailure(SaveStep::kWriting, EFBIG, kPartAlignment);
  EXPECT_EQ(sys::CallCount(sys::Call::kPwrite), 3U);
}

TEST_F(Saver, EndsWhenAskedTo) {
  Plan({{"main", Pattern(kChunk * 3, 1)}});
  plan_.control->abort_requested = 1;
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kAborted);
  EXPECT_EQ(plan_.control->bytes_done.load(), 0U);
  plan_.control->abort_requested = 0;
  plan_.interrupted_context = plan_.control;
  plan_.interrupted = [](const void* context) {
    return static_cast<const ControlHeader*>(context)->bytes_done.load() == kChunk;
  };
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kInterrupted);
  EXPECT_EQ(plan_.control->bytes_done.load(), kChunk);
}

TEST_F(Saver, TheHeartbeatGrowsWithEveryBlock) {
  Plan({{"main", Bytes(5 * kBlockSize)}});
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_GE(plan_.control->heartbeat.load(), 5U);
}

TEST_F(Saver, SeveralSaversShareTheChunks) {
  Plan({{"a", Pattern(kChunk * 2, 1)}, {"b", Pattern(kChunk + 9, 2)}});
  // The second saver continues where the first one was stopped: they share only next_chunk.
  plan_.interrupted_context = plan_.control;
  plan_.interrupted = [](const void* context) {
    return static_cast<const ControlHeader*>(context)->bytes_done.load() >= 2 * kChunk;
  };
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kInterrupted);
  SavePlan second = plan_;
  second.interrupted = nullptr;
  EXPECT_EQ(SaveChunks(second), SaveEnd::kComplete);
  EXPECT_EQ(plan_.control->bytes_done.load(), layout_.byte_length);
  ExpectSaved();
}

TEST_F(Saver, SeveralSaversAtOnceSaveWhatOneDoes) {
  for (const Layout layout : {Layout::kFlat, Layout::kPacked}) {
    Plan({{"a", Pattern(kChunk * 3 + 5, 1)}, {"b", {}}, {"c", Pattern(kChunk + 9, 2)}}, 0, layout,
         3);
    EXPECT_EQ(SaveTogether(), SaveEnd::kComplete);
    EXPECT_EQ(plan_.control->bytes_done.load(), layout_.byte_length);
    EXPECT_EQ(pages_->released_bytes(), layout_.byte_length);
    layout == Layout::kFlat ? ExpectSaved() : ExpectPacked();
  }
}

TEST_F(Saver, TheFirstErrorIsKeptAndEndsTheOtherSavers) {
  Plan({{"main", Pattern(kChunk * 8, 1)}}, 0, Layout::kFlat, 2);
  FaultScope::Fail("pwrite", 3, ENOSPC, true);
  EXPECT_EQ(SaveChunks(plan_, 0), SaveEnd::kFailed);
  ExpectFailure(SaveStep::kWriting, ENOSPC, kPartAlignment + 2 * kChunk);
  FaultScope::Fail("pwrite", 1, EIO, true);
  EXPECT_EQ(SaveChunks(plan_, 1), SaveEnd::kFailed);
  EXPECT_EQ(sys::CallCount(sys::Call::kPwrite), 0U) << "it went on after the other one failed";
  ExpectFailure(SaveStep::kWriting, ENOSPC, kPartAlignment + 2 * kChunk);
}

// Frozen pages whose first copy is interrupted.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, and never deleted as a PageSource
class InterruptedPages final : public PageSource {
 public:
  InterruptedPages(PageSource* pages, std::function<void()> meanwhile)
      : pages_(pages), meanwhile_(std::move(meanwhile)) {}
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                  CopiedPage* pages) override {
    if (const auto meanwhile = std::exchange(meanwhile_, nullptr)) meanwhile();
    pages_->CopyFrozen(section, offset, length, out, pages);
  }
  void Release(uint32_t section, uint64_t offset, size_t length) override {
    pages_->Release(section, offset, length);
  }

 private:
  PageSource* const pages_;
  std::function<void()> meanwhile_;
};

// A sink whose first write fails with EIO, after something else has happened.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, and never deleted as a ByteSink
class FailingSink final : public ByteSink {
 public:
  explicit FailingSink(std::function<void()> meanwhile) : meanwhile_(std::move(meanwhile)) {}
  int64_t Write(const std::byte* /*bytes*/, uint64_t /*length*/, uint64_t /*offset*/) override {
    meanwhile_();
    return -EIO;
  }
  void Extend(uint64_t /*length*/) override {}

 private:
  std::function<void()> meanwhile_;
};

TEST_F(Saver, TheFirstErrorIsKeptWhenAnotherSaverFailsLater) {
  Plan({{"main", Pattern(kChunk * 2, 1)}}, 0, Layout::kFlat, 2);
  FailingSink sink([this] {
    SavePlan other = plan_;
    other.sink = &sink_;
    FaultScope::Fail("pwrite", 1, ENOSPC, true);
    EXPECT_EQ(SaveChunks(other, 1), SaveEnd::kFailed);
  });
  plan_.sink = &sink;
  EXPECT_EQ(SaveChunks(plan_, 0), SaveEnd::kFailed);
  ExpectFailure(SaveStep::kWriting, ENOSPC, kPartAlignment + kChunk);
}

TEST_F(Saver, EncodesNoMoreBlocksAfterAnAbort) {
  Plan({{"main", Pattern(kChunk, 1)}}, 0, Layout::kPacked);
  InterruptedPages pages(&*pages_, [this] { plan_.control->abort_requested = 1; });
  plan_.pages = &pages;
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kAborted);
  EXPECT_NE(Entry(0).present, 0U);
  EXPECT_EQ(Entry(1).present, 0U) << "the second block was encoded";
}

TEST_F(Saver, GoesOnWhenAnotherSaverHasLeftDirectModeAlready) {
  Plan({{"main", Pattern(kBlockSize, 1)}});
  FaultScope::Fail("pwrite", 1, EINVAL);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  ExpectSaved();
}

TEST_F(Saver, PacksSectionsOfAllShapes) {
  Bytes holes(3 * kBlockSize);
  holes[kBlockSize + 17] = std::byte{1};
  holes[2 * kBlockSize - 1] = std::byte{1};
  Bytes text(kChunk + kBlockSize + kPageSize / 2);
  for (size_t i = 0; i < text.size(); i++) text[i] = static_cast<std::byte>("packed "[i % 7]);
  Plan({{"one byte", Pattern(1, 1)},
        {"empty", {}},
        {"holes", holes},
        {"text", text},
        {"zeros", Bytes(kChunk + 5)}},
       O_DIRECT, Layout::kPacked);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_NE(fcntl(fd_.get(), F_GETFL) & O_DIRECT, 0) << "direct mode was refused";
  ExpectPacked();
  EXPECT_EQ(plan_.control->bytes_done.load(), layout_.byte_length);
  EXPECT_LT(plan_.control->bytes_written.load(), 10 * kPageSize);
}

TEST_F(Saver, ThePiecesOfAPackedFileFollowEachOtherAndTheirPaddingIsZero) {
  Plan({{"a", Pattern(kChunk + 100, 1)}, {"b", Bytes(kChunk)}, {"c", Pattern(kBlockSize, 2)}}, 0,
       Layout::kPacked);
  memset(plan_.buffers[0].packed, 0xee, kChunk);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  uint64_t end = kPartAlignment;
  const Bytes file = ReadAll(fd_.get());
  for (size_t i = 0; i < layout_.block_count; i++) {
    const BlockEntry& entry = Entry(i);
    if (entry.present == 0) continue;
    for (; end < entry.file_offset && end < file.size(); end++) {
      ASSERT_EQ(file[end], std::byte{0}) << "bytes of a buffer leaked into the file";
      ASSERT_NE(end % kPageSize, 0U) << "a gap of more than a page";
    }
    ASSERT_EQ(entry.file_offset, end);
    end += entry.stored_length;
  }
  EXPECT_EQ(plan_.control->file_tail.load(), RoundUp(end, kPageSize));
}

TEST_F(Saver, WhatDoesNotShrinkIsStoredAsItIs) {
  Bytes noise(kBlockSize);
  uint64_t state = 88172645463325252U;
  for (std::byte& byte : noise) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<std::byte>(state);
  }
  Plan({{"noise", noise}}, 0, Layout::kPacked);
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
  EXPECT_EQ(Entry(0).codec, Codec::kNone);
  EXPECT_EQ(Entry(0).stored_length, kBlockSize);
  ExpectPacked();
}

TEST_F(Saver, PacksWithoutACodecToo) {
  Plan(PackedSampleSections(), 0, Layout::kPacked, 1, Codec::kNone);
  EXPECT_EQ(SaveTogether(), SaveEnd::kComplete);
  ExpectPacked();
  for (size_t i = 0; i < layout_.block_count; i++) {
    EXPECT_EQ(Entry(i).codec, Codec::kNone);
    EXPECT_EQ(Entry(i).stored_length, std::popcount(Entry(i).present) * kPageSize);
  }
}

TEST(SaveEnd, OfAllSaversIsTheWorstOfThem) {
  EXPECT_EQ(WorseEnd(SaveEnd::kComplete, SaveEnd::kComplete), SaveEnd::kComplete);
  EXPECT_EQ(WorseEnd(SaveEnd::kComplete, SaveEnd::kAborted), SaveEnd::kAborted);
  EXPECT_EQ(WorseEnd(SaveEnd::kFailed, SaveEnd::kComplete), SaveEnd::kFailed);
  EXPECT_EQ(WorseEnd(SaveEnd::kInterrupted, SaveEnd::kFailed), SaveEnd::kFailed);
}

TEST_F(Saver, ARateLimitSpacesTheWritesOfAllSavers) {
  Plan({{"main", Pattern(kChunk * 4, 1)}}, 0, Layout::kFlat, 2);
  plan_.pacing.max_bytes_per_second = kChunk * 100;  // one chunk per 10 ms
  const int64_t started_ns = sys::MonotonicNanoseconds();
  EXPECT_EQ(SaveTogether(), SaveEnd::kComplete);
  // A lower bound: the last of four writes starts after the time allotted to three.
  EXPECT_GE(sys::MonotonicNanoseconds() - started_ns, 30'000'000);
  ExpectSaved();
}

TEST_F(Saver, AnAbortDoesNotWaitForTheRateLimit) {
  Plan({{"main", Pattern(kChunk * 4, 1)}}, 0, Layout::kFlat, 2);
  plan_.pacing.max_bytes_per_second = 1;  // would take weeks
  std::thread savers([this] { EXPECT_EQ(SaveTogether(), SaveEnd::kAborted); });
  while (plan_.control->bytes_written.load() == 0) std::this_thread::yield();
  const uint64_t heartbeat = plan_.control->heartbeat.load();
  // More than the other saver can still make in its first chunk.
  const uint64_t beats = 2 * kBlocksPerChunk;
  while (plan_.control->heartbeat.load() < heartbeat + beats) std::this_thread::yield();
  EXPECT_EQ(plan_.control->bytes_written.load(), kPageSize) << "the second page is not due yet";
  plan_.control->abort_requested = 1;
  savers.join();
  EXPECT_EQ(plan_.control->bytes_written.load(), kPageSize) << "it went on to write";
}

TEST_F(Saver, WhoeverIsInterruptedDoesNotWaitForTheRateLimit) {
  Plan({{"main", Pattern(kChunk, 1)}});
  plan_.pacing.max_bytes_per_second = 1;  // would take weeks
  // Interrupted from the second page on, which is not due yet.
  plan_.interrupted_context = plan_.control;
  plan_.interrupted = [](const void* context) {
    return static_cast<const ControlHeader*>(context)->bytes_written.load() > 0;
  };
  EXPECT_EQ(SaveChunks(plan_), SaveEnd::kInterrupted);
  EXPECT_EQ(plan_.control->bytes_written.load(), kPageSize);
}

TEST_F(Saver, StandsBackForTheService) {
  Plan({{"main", Pattern(kChunk, 1)}});
  const int before = getpriority(PRIO_PROCESS, 0);
  plan_.pacing.nice = std::min(before + 3, 19);
  std::thread saver([this] {
    EXPECT_EQ(SaveChunks(plan_), SaveEnd::kComplete);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), plan_.pacing.nice);
  });
  saver.join();
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), before);
}

TEST(BlockCodec, DecompressesOnlyOneFrameOfTheRightLength) {
  Bytes workspace(BlockCompressor::WorkspaceBytes(3));
  BlockCompressor compressor(workspace.data(), 3);
  const Bytes text(kPageSize, std::byte{'a'});
  Bytes packed(kPageSize);
  const uint64_t length = compressor.Compress(text.data(), text.size(), packed.data());
  ASSERT_GT(length, 0U);
  Bytes reading(BlockDecompressor::WorkspaceBytes());
  BlockDecompressor decompressor(reading.data());
  Bytes out(2 * kPageSize);
  EXPECT_TRUE(decompressor.Decompress(packed.data(), length, out.data(), kPageSize));
  EXPECT_FALSE(decompressor.Decompress(packed.data(), length, out.data(), 2 * kPageSize));
  EXPECT_FALSE(decompressor.Decompress(packed.data(), length, out.data(), kPageSize - 1));
  EXPECT_FALSE(decompressor.Decompress(packed.data(), length - 1, out.data(), kPageSize));
  EXPECT_FALSE(decompressor.Decompress(packed.data(), length + 1, out.data(), kPageSize));
  packed[length / 2] ^= std::byte{1};
  EXPECT_FALSE(decompressor.Decompress(packed.data(), length, out.data(), kPageSize));
}

TEST(BlockCodec, EveryLevelFitsItsWorkspaceAndComesBack) {
  const Bytes block = Pattern(kBlockSize, 1);
  for (int level = kMinLevel; level <= kMaxLevel; level++) {
    Bytes workspace(BlockCompressor::WorkspaceBytes(level));
    BlockCompressor compressor(workspace.data(), level);
    for (const uint64_t length : {kBlockSize, 33 * kPageSize, kPageSize}) {
      Bytes packed(length);
      const uint64_t stored = compressor.Compress(block.data(), length, packed.data());
      if (stored == 0) continue;
      Bytes reading(BlockDecompressor::WorkspaceBytes());
      BlockDecompressor decompressor(reading.data());
      Bytes out(length);
      EXPECT_TRUE(decompressor.Decompress(packed.data(), stored, out.data(), length)) << level;
      EXPECT_TRUE(std::equal(out.begin(), out.end(), block.begin())) << level;
    }
  }
}

TEST(Tail, IsWrittenWholeOrReported) {
  const auto sections = SampleSections();
  MemoryFile good;
  const uint64_t length = WriteImage(good.fd(), sections, kSampleMetadata);
  const Bytes expected = ReadAll(good.fd());
  EXPECT_EQ(length, expected.size());
  const FaultScope faults;
  // The sections take three writes, the tail and the header one each.
  FaultScope::Count("pwrite");
  MemoryFile counted;
  WriteImage(counted.fd(), sections, kSampleMetadata);
  const uint32_t writes = sys::CallCount(sys::Call::kPwrite);
  for (uint32_t nth = writes - 1; nth <= writes; nth++) {
    MemoryFile again;
    FaultScope::Fail("pwrite", nth, EINTR);
    WriteImage(again.fd(), sections, kSampleMetadata);
    EXPECT_TRUE(ReadAll(again.fd()) == expected);
  }
}

constexpr SavedBlocks kNoBlocks{};

TEST(Tail, ReportsTheErrorOfAWrite) {
  ImageDescription image;
  image.sections = {{"main", 0}};
  const ImageLayout layout = PlanLayout(image.sections);
  MemoryFile file;
  FileSink sink(file.fd());
  for (const uint32_t nth : {1U, 2U}) {
    const FaultScope faults;
    FaultScope::Fail("pwrite", nth, ENOSPC);
    Result<uint64_t> wrote = WriteHeaderAndTail(&sink, image, layout, kNoBlocks, layout.data_end);
    ASSERT_FALSE(wrote.ok());
    EXPECT_EQ(wrote.failure().code, FailureCode::kNoSpace);
    EXPECT_STREQ(wrote.failure().syscall, "pwrite");
    EXPECT_EQ(wrote.failure().error_number, ENOSPC);
  }
}

TEST(Tail, LeavesDirectModeWhereAWriteRefusesIt) {
  const TemporaryDirectory directory;
  const UniqueFd fd(
      open(directory.File("image").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600));
  ASSERT_TRUE(fd.valid());
  FileSink sink(fd.get());
  const FaultScope faults;
  FaultScope::Fail("pwrite", 1, EINVAL);
  ImageDescription image;
  image.sections = {{"main", 0}};
  const ImageLayout layout = PlanLayout(image.sections);
  Result<uint64_t> wrote = WriteHeaderAndTail(&sink, image, layout, kNoBlocks, layout.data_end);
  EXPECT_TRUE(wrote.ok());
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_DIRECT, 0);
}

}  // namespace
}  // namespace stillframe::test
