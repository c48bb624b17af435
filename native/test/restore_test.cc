// Promises I6 and I9: a verified restore hands out nothing from a damaged file, and a restore takes
// no more than its plan allows. Tested without Node on images from the writer: into regions, into
// existing memory, and through functions.

#include "restore/restore.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>

#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

ImageFile OpenImage(const MemoryFile& file) {
  Result<ImageFile> image = ImageFile::Open(file.path());
  EXPECT_TRUE(image.ok()) << image.failure().message;
  return std::move(image.value());
}

// A file of these sections, opened as an image.
struct Written {
  explicit Written(std::vector<SampleSection> with, Layout layout = Layout::kFlat)
      : sections(std::move(with)),
        image((WriteImage(file.fd(), sections, "", layout), OpenImage(file))) {}
  MemoryFile file;
  std::vector<SampleSection> sections;
  ImageFile image;
};

// Changes a byte of the section in the file while the image is open.
void Damage(const Written& written, uint32_t section) {
  const std::byte other{0xee};
  WriteAt(written.file.fd(), &other, 1, written.image.sections()[section].data_offset);
}

void ExpectRegion(const RestoredRegion& region, const SampleSection& section) {
  EXPECT_EQ(region.section, section.name);
  ASSERT_NE(region.memory, nullptr);
  ASSERT_EQ(region.memory->byte_length(), section.bytes.size());
  EXPECT_EQ(memcmp(region.memory->data(), section.bytes.data(), section.bytes.size()), 0);
}

Failure FailureOf(const ImageFile& image, const RestorePlan& plan) {
  ReadControl control;
  Result<RestoredFile> restored = Restore(image, plan, &control);
  EXPECT_FALSE(restored.ok());
  return restored.ok() ? Failure{} : restored.failure();
}

Destination RegionFor(const std::string& section, uint64_t length) {
  Destination destination;
  destination.section = section;
  destination.byte_length = length;
  destination.region = RegionUse(RegionMemory::Allocate(length, false).value());
  return destination;
}

TEST(Restore, MakesARegionOfEachSectionInEveryMode) {
  for (const Layout layout : {Layout::kFlat, Layout::kPacked}) {
    const Written written(SampleSections(), layout);
    for (const RestoreMode mode : {RestoreMode::kAny, RestoreMode::kMap, RestoreMode::kCopy}) {
      if (layout == Layout::kPacked && mode == RestoreMode::kMap) continue;
      for (const bool verify : {true, false}) {
        RestorePlan plan;
        plan.mode = mode;
        plan.verify = verify;
        ReadControl control;
        Result<RestoredFile> restored = Restore(written.image, plan, &control);
        ASSERT_TRUE(restored.ok()) << restored.failure().message;
        EXPECT_EQ(restored.value().mapped, layout == Layout::kFlat && mode != RestoreMode::kCopy);
        ASSERT_EQ(restored.value().regions.size(), written.sections.size());
        for (size_t i = 0; i < written.sections.size(); i++) {
          ExpectRegion(restored.value().regions[i], written.sections[i]);
        }
      }
    }
  }
}

TEST(Restore, DoesNotMapAPackedFile) {
  const Written written(PackedSampleSections(), Layout::kPacked);
  RestorePlan plan;
  plan.mode = RestoreMode::kMap;
  EXPECT_EQ(FailureOf(written.image, plan).code, FailureCode::kNotMappable);
}

TEST(Restore, TakesTheChosenSectionsInTheOrderOfTheFile) {
  const Written written(SampleSections());
  RestorePlan plan;
  plan.sections = {written.sections[2].name, written.sections[0].name};
  ReadControl control;
  Result<RestoredFile> restored = Restore(written.image, plan, &control);
  ASSERT_TRUE(restored.ok());
  ASSERT_EQ(restored.value().regions.size(), 2U);
  ExpectRegion(restored.value().regions[0], written.sections[0]);
  ExpectRegion(restored.value().regions[1], written.sections[2]);
}

TEST(Restore, NamesTheSectionsThereAreWhenOneIsUnknown) {
  std::vector<SampleSection> many;
  many.reserve(18);
  for (int i = 0; i < 18; i++) many.push_back({"s" + std::to_string(i), Bytes(1)});
  const Written written(std::move(many));
  RestorePlan plan;
  plan.sections = {"other"};
  const Failure failure = FailureOf(written.image, plan);
  EXPECT_EQ(failure.code, FailureCode::kNoSection);
  EXPECT_EQ(failure.section, "other");
  EXPECT_NE(failure.message.find("it has 's0' 's1' "), std::string::npos) << failure.message;
  EXPECT_NE(failure.message.find("'s15' and 2 more"), std::string::npos) << failure.message;
}

TEST(Restore, TakesNoMoreThanItWasTold) {
  const Written written(SampleSections());
  uint64_t total = 0;
  for (const SampleSection& section : written.sections) total += section.bytes.size();

  RestorePlan bytes;
  bytes.max_bytes = total - 1;
  EXPECT_EQ(FailureOf(written.image, bytes).code, FailureCode::kOutOfRange);
  bytes.max_bytes = total;
  ReadControl control;
  EXPECT_TRUE(Restore(written.image, bytes, &control).ok());

  RestorePlan mappings;
  mappings.max_mappings = 2;
  EXPECT_EQ(FailureOf(written.image, mappings).code, FailureCode::kOutOfRange);
  // Restoring into existing memory takes no mapping.
  const SampleSection& first = written.sections[0];
  mappings.into.push_back(RegionFor(first.name, first.bytes.size()));
  EXPECT_TRUE(Restore(written.image, mappings, &control).ok());

  RestorePlan small;
  small.into.push_back(RegionFor(first.name, first.bytes.size() - 1));
  const Failure failure = FailureOf(written.image, small);
  EXPECT_EQ(failure.code, FailureCode::kOutOfRange);
  EXPECT_EQ(failure.section, first.name);
}

TEST(Restore, FillsARegionAndLeavesWhatIsBehindTheSection) {
  const Written written(SampleSections());
  const SampleSection& second = written.sections[1];
  RestorePlan plan;
  plan.sections = {second.name};
  plan.into.push_back(RegionFor(second.name, second.bytes.size() + 10));
  std::byte* memory = plan.into[0].region.get()->data();
  memset(memory, 0x5a, second.bytes.size() + 10);
  ReadControl control;
  Result<RestoredFile> restored = Restore(written.image, plan, &control);
  ASSERT_TRUE(restored.ok());
  EXPECT_EQ(restored.value().regions[0].memory, nullptr);
  EXPECT_EQ(memcmp(memory, second.bytes.data(), second.bytes.size()), 0);
  for (int i = 0; i < 10; i++) EXPECT_EQ(memory[second.bytes.size() + i], std::byte{0x5a});
}

TEST(Restore, HandsAFunctionItsSectionChunkByChunk) {
  const Written written({{"big", Pattern(2 * kChunkSize + 77, 4)}}, Layout::kPacked);
  Bytes got;
  RestorePlan plan;
  plan.into.resize(1);
  plan.into[0].section = "big";
  plan.into[0].byte_length = written.sections[0].bytes.size();
  plan.into[0].fill = [&](uint64_t offset, const std::byte* bytes, uint64_t length) -> Status {
    EXPECT_EQ(offset, got.size());
    EXPECT_LE(length, kChunkSize);
    got.insert(got.end(), bytes, bytes + length);
    return Success{};
  };
  ReadControl control;
  ASSERT_TRUE(Restore(written.image, plan, &control).ok());
  EXPECT_TRUE(got == written.sections[0].bytes);
}

TEST(Restore, EndsWithTheFirstChunkThatIsRefused) {
  const Written written({{"big", Pattern(2 * kChunkSize, 4)}, {"next", Pattern(10, 5)}});
  int calls = 0;
  RestorePlan plan;
  for (const SampleSection& section : written.sections) {
    Destination destination;
    destination.section = section.name;
    destination.byte_length = section.bytes.size();
    destination.fill = [&](uint64_t, const std::byte*, uint64_t) -> Status {
      calls++;
      return Fail(FailureCode::kIo, "no room");
    };
    plan.into.push_back(std::move(destination));
  }
  EXPECT_EQ(FailureOf(written.image, plan).message, "no room");
  EXPECT_EQ(calls, 1);
}

// The damage is in the last section. The others go into existing memory, one of them through a
// function.
TEST(Restore, FillsNothingFromADamagedFile) {
  const Written written(
      {{"by function", Pattern(5000, 1)}, {"region", Pattern(5000, 2)}, {"last", Pattern(9, 3)}});
  Damage(written, 2);
  for (const bool verify : {true, false}) {
    int calls = 0;
    RestorePlan plan;
    plan.mode = RestoreMode::kCopy;  // a mapping is verified first anyway
    plan.verify = verify;
    plan.sections = {"by function", "region"};
    plan.into.push_back(RegionFor("region", 5000));
    const std::byte* memory = plan.into[0].region.get()->data();
    plan.into.resize(2);
    plan.into[1].section = "by function";
    plan.into[1].byte_length = 5000;
    plan.into[1].fill = [&](uint64_t, const std::byte*, uint64_t) -> Status {
      calls++;
      return Success{};
    };
    ReadControl control;
    Result<RestoredFile> restored = Restore(written.image, plan, &control);
    // Without verification the requested sections are intact.
    EXPECT_EQ(restored.ok(), !verify);
    EXPECT_EQ(calls, verify ? 0 : 1);
    EXPECT_EQ(memory[0], verify ? std::byte{0} : written.sections[1].bytes[0]);
    if (restored.ok()) continue;
    EXPECT_EQ(restored.failure().code, FailureCode::kCorrupt);
    EXPECT_EQ(restored.failure().section, "last");
  }
}

TEST(Restore, ChecksAlsoTheSectionsThatItDoesNotTake) {
  const Written written(SampleSections());
  Damage(written, 2);
  for (const RestoreMode mode : {RestoreMode::kMap, RestoreMode::kCopy}) {
    RestorePlan plan;
    plan.mode = mode;
    plan.sections = {written.sections[0].name};
    const Failure failure = FailureOf(written.image, plan);
    EXPECT_EQ(failure.code, FailureCode::kCorrupt);
    EXPECT_EQ(failure.section, written.sections[2].name);
    plan.verify = false;
    ReadControl control;
    EXPECT_TRUE(Restore(written.image, plan, &control).ok());
  }
}

TEST(Restore, EndsWhenItIsCancelled) {
  const Written written(SampleSections());
  for (const bool verify : {true, false}) {
    RestorePlan plan;
    plan.mode = RestoreMode::kCopy;
    plan.verify = verify;
    ReadControl control;
    control.cancelled = true;
    Result<RestoredFile> restored = Restore(written.image, plan, &control);
    ASSERT_FALSE(restored.ok());
    EXPECT_EQ(restored.failure().code, FailureCode::kAborted);
  }
}

}  // namespace
}  // namespace stillframe::test
