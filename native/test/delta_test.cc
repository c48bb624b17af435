// Frames that build on one another: a chain is restored as its newest frame was frozen,
// whatever changed between its frames, and a file that is missing, or is not the
// recorded one, is never ignored.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>

#include "capture/parent_sums.h"
#include "image/control_block.h"
#include "image/file_sink.h"
#include "image/file_source.h"
#include "image/image_sweep.h"
#include "image/parent_search.h"
#include "image/saver.h"
#include "restore/lazy_restore.h"
#include "restore/restore.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

using Sections = std::vector<SampleSection>;

// Saves frames to a directory, and restores them.
class Delta : public ::testing::Test {
 protected:
  struct Saved {
    std::string path;
    uint64_t changed_pages = 0;
    uint64_t file_length = 0;
  };

  // `parent` is a path, or empty for a full file.
  Saved Save(const std::string& name, const Sections& sections, const std::string& parent,
             Layout layout = Layout::kFlat, Codec codec = Codec::kNone) {
    const bool is_delta = !parent.empty();
    ImageDescription image;
    image.id[0] = ++last_id_;
    image.frozen_at_ns = 1'700'000'000'000'000'000 + last_id_;
    for (const auto& section : sections) {
      image.sections.push_back({section.name, section.bytes.size()});
    }
    const Encoding encoding{is_delta ? Layout::kPacked : layout, codec, 1};
    const ImageLayout plan_layout = PlanLayout(image.sections, encoding.layout);
    Result<ControlBlock> control = ControlBlock::Create(plan_layout.block_count, {1, encoding});
    EXPECT_TRUE(control.ok());
    Saved saved{directory_.File(name)};
    if (is_delta) {
      Result<ParentMark> mark = ReadParentSums(
          {parent, {}, {}, saved.path, &image, &plan_layout, control.value().sums(), [] {
             return false;
           }});
      if (!mark.ok()) {
        ADD_FAILURE() << mark.failure().message;
        return saved;
      }
      image.parent = mark.value();
    }
    MemoryPages pages(sections);
    const UniqueFd fd(
        sys::Open(AT_FDCWD, saved.path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    FileSink sink(fd.get());
    SavePlan plan{};
    plan.encoding = encoding;
    plan.sections = plan_layout.sections.data();
    plan.section_count = static_cast<uint32_t>(plan_layout.sections.size());
    plan.chunk_count = plan_layout.chunk_count;
    plan.pages = &pages;
    plan.control = control.value().header();
    plan.index = control.value().index();
    plan.sums = control.value().sums();
    plan.delta = is_delta;
    plan.control->sums_ready = 1;
    plan.buffers = control.value().buffers();
    plan.sink = &sink;
    plan.control->file_tail = kPartAlignment;
    EXPECT_EQ(SaveChunks(plan), SaveEnd::kComplete);
    const uint64_t tail_offset = encoding.layout == Layout::kPacked
                                     ? RoundUp(plan.control->file_tail.load(), kPartAlignment)
                                     : plan_layout.data_end;
    Result<uint64_t> length =
        WriteHeaderAndTail(&sink, image, plan_layout, {plan.index, plan.sums}, tail_offset);
    EXPECT_TRUE(length.ok());
    saved.file_length = length.value();
    saved.changed_pages = plan.control->changed_pages;
    return saved;
  }

  static ImageFile Open(const std::string& path) {
    Result<ImageFile> image = OpenFrame(path, {}, {});
    if (image.ok()) return std::move(image.value());
    ADD_FAILURE() << image.failure().message;
    abort();
  }

  // Restores in every way that there is, with all checks.
  static void ExpectRestores(const std::string& path, const Sections& sections) {
    const ImageFile image = Open(path);
    ASSERT_EQ(image.sections().size(), sections.size());
    for (const RestoreMode mode : {RestoreMode::kCopy, RestoreMode::kAny}) {
      RestorePlan plan;
      plan.mode = mode;
      ReadControl control;
      Result<RestoredFile> restored = Restore(image, plan, &control);
      ASSERT_TRUE(restored.ok()) << path << ": " << restored.failure().message;
      EXPECT_EQ(restored.value().mapped, mode == RestoreMode::kAny && image.base().mappable());
      for (size_t i = 0; i < sections.size(); i++) {
        const Bytes& expected = sections[i].bytes;
        ASSERT_EQ(restored.value().regions[i].section, sections[i].name);
        const auto& memory = *restored.value().regions[i].memory;
        ASSERT_EQ(memory.byte_length(), expected.size());
        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), memory.data()))
            << path << ", section " << sections[i].name;
      }
    }
    ExpectRestoresLazily(path, sections);
    for (uint32_t i = 0; i < sections.size(); i++) {
      Bytes memory(sections[i].bytes.size());
      ReadControl control;
      ASSERT_TRUE(FillMemory(image, i, memory.data(), ImageFile::Check::kChecksums, &control).ok());
      ASSERT_TRUE(memory == sections[i].bytes) << path << ", section " << sections[i].name;
    }
    ReadControl control;
    Result<std::vector<ImageProblem>> problems = image.Verify(10, &control);
    ASSERT_TRUE(problems.ok()) << problems.failure().message;
    for (const ImageProblem& problem : problems.value()) ADD_FAILURE() << path << problem.reason;
  }

  static void ExpectRestoresLazily(const std::string& path, const Sections& sections) {
    if (!MissingPages::Create().ok()) return;
    Result<std::shared_ptr<LazyRestore>> lazy = LazyRestore::Start(Open(path), {}, {});
    ASSERT_TRUE(lazy.ok()) << lazy.failure().message;
    Status finished = lazy.value()->Finish();
    ASSERT_TRUE(finished.ok()) << path << ": " << finished.failure().message;
    for (size_t i = 0; i < sections.size(); i++) {
      const Bytes& expected = sections[i].bytes;
      ASSERT_TRUE(
          std::equal(expected.begin(), expected.end(), lazy.value()->regions()[i].memory->data()))
          << path << ", section " << sections[i].name;
    }
  }

  static FailureCode CodeOf(const std::string& path, const std::vector<std::string>& places = {}) {
    Result<ImageFile> image = OpenFrame(path, places, {});
    return image.ok() ? FailureCode::kNoSection : image.failure().code;
  }

  TemporaryDirectory directory_;
  uint8_t last_id_ = 0;
};

TEST_F(Delta, HoldsOnlyThePagesThatChanged) {
  Sections sections = {{"main", Pattern(40 * kBlockSize + 3 * kPageSize + 5, 1)}};
  const std::string base = Save("base", sections, "").path;
  Bytes& bytes = sections[0].bytes;
  bytes[5 * kPageSize + 17] = std::byte{0};
  bytes[20 * kBlockSize] = std::byte{0};
  std::fill_n(bytes.begin() + 30 * kBlockSize, kPageSize, std::byte{0});
  bytes.back() = std::byte{0};
  const Saved delta = Save("delta", sections, base);
  EXPECT_EQ(delta.changed_pages, 4U);
  const ImageFile image = Open(delta.path);
  EXPECT_EQ(image.trailer().index_count, 4U);
  EXPECT_EQ(image.trailer().sum_count, 3U) << "a page of zeros is told, not stored";
  EXPECT_EQ(image.sections()[0].stored_bytes, 3 * kPageSize);
  ExpectRestores(delta.path, sections);
}

TEST_F(Delta, OfNothingIsEmptyAndRestoresAll) {
  const Sections sections = {{"main", Pattern(3 * kBlockSize, 1)}, {"none", {}}};
  const std::string base = Save("base", sections, "").path;
  const Saved delta = Save("delta", sections, base);
  EXPECT_EQ(delta.changed_pages, 0U);
  EXPECT_EQ(Open(delta.path).trailer().index_count, 0U);
  ExpectRestores(delta.path, sections);
}

// Sections grow, shrink, come, go and change places, and pages change, become zero and come back.
TEST_F(Delta, EveryFrameOfAHistoryComesBackAsItWas) {
  for (const uint32_t seed : {1U, 2U, 3U, 4U}) {
    std::mt19937 random(seed);
    const auto below = [&](uint64_t n) {
      return std::uniform_int_distribution<uint64_t>(0, n - 1)(random);
    };
    Sections sections = {{"a", Pattern(20 * kBlockSize + 1, seed)}, {"b", Bytes(2 * kBlockSize)}};
    std::vector<std::pair<std::string, Sections>> frames;
    std::string parent;
    for (int frame = 0; frame < 14; frame++) {
      const bool zstd = below(2) == 0;
      const Layout layout = seed % 2 == 0 ? Layout::kPacked : Layout::kFlat;
      const Codec codec =
          zstd && (frame > 0 || layout == Layout::kPacked) ? Codec::kZstd : Codec::kNone;
      const std::string name = std::to_string(seed) + "-" + std::to_string(frame);
      parent = Save(name, sections, parent, layout, codec).path;
      frames.emplace_back(parent, sections);
      for (SampleSection& section : sections) {
        for (uint64_t writes = below(40); writes > 0 && !section.bytes.empty(); writes--) {
          const uint64_t at = below(section.bytes.size());
          const uint64_t page = RoundDown(at, kPageSize);
          const uint64_t length = std::min<uint64_t>(kPageSize, section.bytes.size() - page);
          if (below(3) == 0) {
            std::fill_n(section.bytes.begin() + static_cast<int64_t>(page), length, std::byte{0});
          } else {
            section.bytes[at] = static_cast<std::byte>(below(256));
          }
        }
      }
      if (below(3) == 0) sections[0].bytes.resize(1 + below(24 * kBlockSize));
      if (below(4) == 0)
        sections.push_back({"new" + std::to_string(frame), Pattern(below(kBlockSize), frame)});
      if (below(5) == 0 && sections.size() > 2) sections.erase(sections.begin() + 1);
      if (below(5) == 0) std::swap(sections.front(), sections.back());
    }
    for (const auto& [path, expected] : frames) ExpectRestores(path, expected);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST_F(Delta, ASectionThatShrankAndGrewAgainHasNoOldBytes) {
  Sections sections = {{"main", Pattern(2 * kBlockSize + 3 * kPageSize, 1)}};
  std::string parent = Save("0", sections, "").path;
  sections[0].bytes.resize(kPageSize + 7);
  parent = Save("1", sections, parent).path;
  ExpectRestores(parent, sections);
  sections[0].bytes.resize(2 * kBlockSize + 3 * kPageSize);
  parent = Save("2", sections, parent).path;
  ExpectRestores(parent, sections);
}

class ParentRefused : public Delta {
 protected:
  void SetUp() override {
    sections_ = {{"main", Pattern(3 * kBlockSize, 1)}};
    base_ = Save("base", sections_, "").path;
    sections_[0].bytes[0] = std::byte{0};
    middle_ = Save("middle", sections_, base_).path;
    sections_[0].bytes[kPageSize] = std::byte{0};
    newest_ = Save("newest", sections_, middle_).path;
  }
  Sections sections_;
  std::string base_;
  std::string middle_;
  std::string newest_;
};

TEST_F(ParentRefused, WhenItIsMissingAnywhereInTheChain) {
  for (const std::string& path : {base_, middle_}) {
    std::filesystem::rename(path, path + ".away");
    EXPECT_EQ(CodeOf(newest_), FailureCode::kNoSection) << "its name means nothing";
    const std::string elsewhere = directory_.File("elsewhere");
    std::filesystem::create_directories(elsewhere);
    std::filesystem::rename(path + ".away", elsewhere + "/x");
    EXPECT_EQ(CodeOf(newest_), FailureCode::kParent);
    EXPECT_EQ(CodeOf(newest_, {elsewhere, directory_.path()}), FailureCode::kNoSection);
    EXPECT_EQ(CodeOf(newest_, {elsewhere + "/x", directory_.path()}), FailureCode::kNoSection);
    std::filesystem::rename(elsewhere + "/x", path);
  }
}

TEST_F(ParentRefused, WhenItHasTheIdAndIsAnotherFile) {
  // The same id and time, but other bytes.
  last_id_ = 0;
  Sections other = {{"main", Pattern(3 * kBlockSize, 2)}};
  Save("base", other, "");
  EXPECT_EQ(CodeOf(newest_), FailureCode::kParent);
  EXPECT_EQ(CodeOf(middle_), FailureCode::kParent);
}

TEST_F(ParentRefused, ButNotForAStrangerOfTheSameId) {
  std::filesystem::copy_file(base_, directory_.File("aaa"));
  last_id_ = 0;
  Save("zzz", {{"main", Pattern(9, 2)}}, "");
  ExpectRestores(newest_, sections_);
}

TEST_F(ParentRefused, WhenTheDeltaWouldTakeItsPlace) {
  ImageDescription image;
  image.sections = {{"main", sections_[0].bytes.size()}};
  const ImageLayout layout = PlanLayout(image.sections, Layout::kPacked);
  std::vector<PageSum> sums(layout.block_count * kPagesPerBlock);
  for (const std::string& target : {base_, middle_, newest_}) {
    Result<ParentMark> mark = ReadParentSums(
        {newest_, {}, {}, target, &image, &layout, sums.data(), [] { return false; }});
    ASSERT_FALSE(mark.ok());
    EXPECT_EQ(mark.failure().code, FailureCode::kParent);
  }
}

TEST_F(ParentRefused, WhenItsSumsAreDamaged) {
  const UniqueFd fd(sys::Open(AT_FDCWD, base_.c_str(), O_RDWR | O_CLOEXEC, 0));
  const EditableImage parts(ReadAll(fd.get()));
  const uint64_t sums_at =
      parts.trailer.index_offset + parts.trailer.index_count * sizeof(BlockEntry);
  const std::byte wrong{0x55};
  WriteAt(fd.get(), &wrong, 1, sums_at + 40);
  ImageDescription image;
  image.sections = {{"main", sections_[0].bytes.size()}};
  const ImageLayout layout = PlanLayout(image.sections, Layout::kPacked);
  std::vector<PageSum> sums(layout.block_count * kPagesPerBlock);
  Result<ParentMark> mark =
      ReadParentSums({newest_, {}, {}, directory_.File("next"), &image, &layout, sums.data(), [] {
                        return false;
                      }});
  ASSERT_FALSE(mark.ok());
  EXPECT_EQ(mark.failure().code, FailureCode::kParent);
}

class NamedChain : public Delta {
 protected:
  static Result<ImageFile> OpenNamed(const std::vector<std::string>& paths) {
    std::vector<NamedSource> chain;
    for (const std::string& path : paths)
      chain.push_back({std::move(FileSource::Open(path).value()), path});
    return OpenFrame(std::move(chain), {});
  }
  static FailureCode Refusal(const std::vector<std::string>& paths) {
    Result<ImageFile> image = OpenNamed(paths);
    return image.ok() ? FailureCode::kNoSection : image.failure().code;
  }
};

TEST_F(NamedChain, IsReadAsAnyOtherAndTakesNothingElse) {
  Sections sections = {{"main", Pattern(3 * kBlockSize, 1)}};
  const std::string base = Save("base", sections, "").path;
  sections[0].bytes[5] = std::byte{1};
  const std::string middle = Save("middle", sections, base).path;
  sections[0].bytes[kBlockSize] = std::byte{2};
  const std::string newest = Save("newest", sections, middle).path;
  Result<ImageFile> image = OpenNamed({newest, middle, base});
  ASSERT_TRUE(image.ok()) << image.failure().message;
  ReadControl control;
  EXPECT_TRUE(image.value().Verify(10, &control).value().empty());
  EXPECT_TRUE(OpenNamed({base}).ok());
  const std::string other = Save("other", sections, "").path;
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{},
                                                {newest},
                                                {newest, base},
                                                {newest, middle},
                                                {newest, middle, other},
                                                {base, base},
                                                {middle, newest, base},
                                                {newest, middle, base, base}}) {
    EXPECT_EQ(Refusal(wrong), FailureCode::kParent) << wrong.size();
  }
}

// With every checksum of the file repaired, only the sum of all memory reveals the change.
class WrongMerge : public Delta {
 protected:
  void ExpectRefused(const std::function<void(EditableImage*)>& change) {
    Sections sections = {{"main", Pattern(3 * kBlockSize, 1)}};
    const std::string base = Save("base", sections, "").path;
    Bytes& bytes = sections[0].bytes;
    bytes[0] = std::byte{0};
    std::fill_n(bytes.begin() + 5 * kPageSize, kPageSize, std::byte{0});
    const std::string path = Save("delta", sections, base).path;
    const UniqueFd fd(sys::Open(AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC, 0));
    EditableImage image(ReadAll(fd.get()));
    ASSERT_EQ(image.index.size(), 1U);
    ASSERT_EQ(image.index[0].present, 1U);
    ASSERT_EQ(image.index[0].zero, 32U);
    change(&image);
    image.Store(fd.get());
    const ImageFile opened = Open(path);
    ReadControl control;
    const auto problems = opened.Verify(10, &control);
    ASSERT_TRUE(problems.ok());
    ASSERT_EQ(problems.value().size(), 1U);
    EXPECT_NE(problems.value()[0].reason.find("do not add up"), std::string::npos);
    for (const RestoreMode mode : {RestoreMode::kCopy, RestoreMode::kAny}) {
      RestorePlan plan;
      plan.mode = mode;
      Result<RestoredFile> restored = Restore(opened, plan, &control);
      ASSERT_FALSE(restored.ok());
      EXPECT_EQ(restored.failure().code, FailureCode::kCorrupt);
    }
    if (!MissingPages::Create().ok()) return;
    Status lazily = LazyRestore::Start(Open(path), {}, {}).value()->Finish();
    ASSERT_FALSE(lazily.ok());
    EXPECT_EQ(lazily.failure().code, FailureCode::kCorrupt);
  }
};

TEST_F(WrongMerge, APageThatGoesElsewhere) {
  ExpectRefused([](EditableImage* image) { image->index[0].present = 2; });
}

TEST_F(WrongMerge, AZeroPageThatIsAnother) {
  ExpectRefused([](EditableImage* image) { image->index[0].zero = 64; });
}

TEST_F(WrongMerge, AZeroPageThatIsAsInTheParent) {
  ExpectRefused([](EditableImage* image) { image->index[0].zero = 0; });
}

TEST_F(WrongMerge, ABlockThatIsAnother) {
  ExpectRefused([](EditableImage* image) { image->index[0].block = 1; });
}

TEST_F(Delta, ThatClaimsMoreMemoryThanTheChainHasEntriesForIsRefused) {
  Sections sections = {{"main", Pattern(2 * kBlockSize, 1)}};
  const std::string base = Save("base", sections, "").path;
  sections[0].bytes[0] = std::byte{0};
  const std::string path = Save("delta", sections, base).path;
  for (const uint64_t length : {2 * kBlockSize + 1, kMaxSectionLength}) {
    const UniqueFd fd(sys::Open(AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC, 0));
    EditableImage image(ReadAll(fd.get()));
    image.records[0].byte_length = length;
    image.Store(fd.get());
    EXPECT_EQ(CodeOf(path), FailureCode::kCorrupt) << length;
  }
}

}  // namespace
}  // namespace stillframe::test
