// No damaged byte of an image file goes unnoticed, and the report names the place. Proved on a
// small file: five other values for every byte of the header, the tables and the trailer, and for a
// sample of all other bytes (one in seven of these changes if there is no time for all); every
// length to which the file can be cut; added bytes; and once more every byte of every struct, with
// all checksums repaired afterwards.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "image/image_file.h"
#include "image/parent_search.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

// The complaint of a reader about a file.
struct Finding {
  FailureCode code;
  int64_t offset;
  std::string section;
  std::string message;
};

std::optional<Finding> Examine(const std::string& path) {
  Result<ImageFile> image = OpenFrame(path, {}, {});
  if (!image.ok()) {
    const Failure& failure = image.failure();
    return Finding{failure.code, failure.offset, failure.section, failure.message};
  }
  ReadControl control;
  Result<std::vector<ImageProblem>> problems = image.value().Verify(10, &control);
  if (!problems.ok()) return Finding{problems.failure().code, -1, "", problems.failure().message};
  if (problems.value().empty()) return std::nullopt;
  EXPECT_EQ(problems.value().size(), 1U) << "one damaged place is one problem";
  const ImageProblem& first = problems.value().front();
  return Finding{FailureCode::kCorrupt, static_cast<int64_t>(first.offset), first.section,
                 first.reason};
}

// The file under test, and a list of its parts.
class DamagedImage : public ::testing::Test {
 protected:
  enum class Kind : uint8_t { kPage, kZeros, kBlock, kIndex, kTable };
  struct Part {
    const char* what;
    uint64_t start;
    uint64_t end;
    Kind kind;
    std::string section;
  };

  void SetUp() override {
    sections_ = SampleSections();
    length_ = WriteImage(file_.fd(), sections_, kSampleMetadata);
    bytes_ = ReadAll(file_.fd());
    ASSERT_FALSE(Examine(file_.path()).has_value());
    const EditableImage image(bytes_);
    const FileTrailer& trailer = image.trailer;
    parts_.push_back({"header", 0, kPageSize, Kind::kPage, ""});
    parts_.push_back({"gap behind the header", kPageSize, kPartAlignment, Kind::kZeros, ""});
    for (size_t i = 0; i < sections_.size(); i++) {
      const SectionRecord& record = image.records[i];
      for (uint64_t block = 0; block < record.entry_count; block++) {
        const BlockEntry& entry = image.index[record.first_entry + block];
        const uint64_t start = record.data_offset + block * kBlockSize;
        const uint64_t end = start + PaddedBlockLength(record.byte_length, block);
        const Kind kind = entry.present != 0 ? Kind::kBlock : Kind::kZeros;
        parts_.push_back({"block", start, end, kind, sections_[i].name});
      }
      const uint64_t end = parts_.back().end;
      parts_.push_back(
          {"gap behind a section", end, RoundUp(end, kPartAlignment), Kind::kZeros, ""});
    }
    ASSERT_EQ(parts_.back().end, trailer.index_offset);
    const uint64_t sums_at = trailer.index_offset + trailer.index_count * sizeof(BlockEntry);
    parts_.push_back({"index", trailer.index_offset, sums_at, Kind::kIndex, ""});
    parts_.push_back({"sums", sums_at, trailer.sections_offset, Kind::kTable, ""});
    parts_.push_back(
        {"section table", trailer.sections_offset, trailer.metadata_offset, Kind::kTable, ""});
    const uint64_t end = trailer.metadata_offset + trailer.metadata_length;
    parts_.push_back({"metadata", trailer.metadata_offset, end, Kind::kTable, ""});
    parts_.push_back({"padding of the tail", end, length_ - kPageSize, Kind::kZeros, ""});
    parts_.push_back({"trailer", length_ - kPageSize, length_, Kind::kPage, ""});
    ASSERT_EQ(length_, bytes_.size());
  }

  // Returns the positions of a part to damage. These are all positions, except that in long
  // runs of zeros, and in bytes that only a single checksum covers, they are those near
  // borders and some in between.
  static std::vector<uint64_t> Positions(const Part& part) {
    // Prime numbers, so that all offsets in a page occur.
    const uint64_t stride = part.kind == Kind::kZeros ? 101 : part.kind == Kind::kBlock ? 17 : 1;
    std::vector<uint64_t> positions;
    for (uint64_t at = part.start; at < part.end; at++) {
      const bool border = at < part.start + 64 || at + 64 >= part.end || (at + 2) % kPageSize < 4;
      if (border || at % stride == 0) positions.push_back(at);
    }
    return positions;
  }

  void ExpectNamed(const Part& part, uint64_t at, const Finding& found) {
    const auto offset = static_cast<uint64_t>(found.offset);
    SCOPED_TRACE(std::string(part.what) + ", byte " + std::to_string(at) + ": " + found.message);
    if (at < sizeof kHeaderMagic) {
      EXPECT_EQ(found.code, FailureCode::kFormat);
      return;
    }
    ASSERT_EQ(found.code, FailureCode::kCorrupt);
    EXPECT_GE(offset, part.start);
    EXPECT_LE(offset, at);
    if (part.kind == Kind::kZeros) {
      EXPECT_EQ(offset, at);
    }
    if (part.kind == Kind::kIndex) {
      // The report names the entry itself if it cannot be right, or else the index as a whole.
      const uint64_t entry = (at - part.start) / sizeof(BlockEntry);
      EXPECT_TRUE(offset == part.start || offset == part.start + entry * sizeof(BlockEntry));
    } else {
      EXPECT_EQ(found.section, part.section);
    }
  }

  void PutBack(uint64_t at, const Part& part) {
    WriteAt(file_.fd(), &bytes_[at], 1, at);
    if (part.kind != Kind::kZeros) return;
    // Restores the hole, so that the next damage is found next to holes again.
    const uint64_t start = RoundUp(part.start, kPageSize);
    const uint64_t end = RoundDown(part.end, kPageSize);
    if (start >= end) return;
    ASSERT_EQ(fallocate(file_.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(start), static_cast<off_t>(end - start)),
              0);
  }

  MemoryFile file_;
  std::vector<SampleSection> sections_;
  uint64_t length_ = 0;
  Bytes bytes_;
  std::vector<Part> parts_;
};

std::set<std::byte> OtherValues(std::byte original) {
  const auto value = static_cast<unsigned>(original);
  std::set<std::byte> others = {original ^ std::byte{1}, original ^ std::byte{0x80}, std::byte{0},
                                std::byte{0xff}, static_cast<std::byte>(value + 1)};
  others.erase(original);
  return others;
}

// Each change opens and reads a file: all changes take minutes, and much longer with a sanitizer.
// The number is a prime, so that all values and all places have their turn.
uint64_t Every() { return LongMode() ? 1 : 7; }

TEST_F(DamagedImage, EveryChangedByteIsFoundAndNamed) {
  uint64_t change = 0;
  uint64_t damaged = 0;
  for (const Part& part : parts_) {
    for (const uint64_t at : Positions(part)) {
      for (const std::byte value : OtherValues(bytes_[at])) {
        if (change++ % Every() != 0) continue;
        WriteAt(file_.fd(), &value, 1, at);
        const std::optional<Finding> found = Examine(file_.path());
        damaged++;
        ASSERT_TRUE(found.has_value()) << part.what << ", byte " << at << ": not noticed";
        ExpectNamed(part, at, *found);
        ASSERT_FALSE(HasFailure());
      }
      PutBack(at, part);
    }
  }
  EXPECT_FALSE(Examine(file_.path()).has_value());
  RecordProperty("damaged", static_cast<int>(damaged));
  EXPECT_GT(damaged, 20'000U / Every());
}

TEST_F(DamagedImage, NoDamagedByteOfASectionIsHandedOut) {
  for (const Part& part : parts_) {
    if (part.kind != Kind::kBlock) continue;
    uint32_t index = 0;
    while (sections_[index].name != part.section) index++;
    const Bytes& original = sections_[index].bytes;
    for (uint64_t at = part.start; at < part.end; at += 13) {
      const std::byte value = bytes_[at] ^ std::byte{0x10};
      WriteAt(file_.fd(), &value, 1, at);
      Result<ImageFile> image = ImageFile::Open(file_.path());
      ASSERT_TRUE(image.ok());
      ReadControl control;
      const auto deliver = [&](uint64_t offset, const std::byte* piece, uint64_t length) -> Status {
        EXPECT_EQ(memcmp(piece, original.data() + offset, length), 0) << at;
        return Success{};
      };
      Status read =
          image.value().ReadSection(index, ImageFile::Check::kChecksums, deliver, &control);
      ASSERT_FALSE(read.ok()) << at;
      EXPECT_EQ(read.failure().code, FailureCode::kCorrupt);
      EXPECT_EQ(read.failure().section, part.section);
      EXPECT_EQ(read.failure().offset, static_cast<int64_t>(part.start));
      Bytes memory(original.size());
      read =
          FillMemory(image.value(), index, memory.data(), ImageFile::Check::kChecksums, &control);
      ASSERT_FALSE(read.ok()) << at;
      WriteAt(file_.fd(), &bytes_[at], 1, at);
    }
  }
}

TEST_F(DamagedImage, EveryTruncationIsFound) {
  for (uint64_t length = length_ - 1;; length--) {
    ASSERT_EQ(ftruncate(file_.fd(), static_cast<off_t>(length)), 0);
    Result<ImageFile> image = ImageFile::Open(file_.path());
    ASSERT_FALSE(image.ok()) << "cut to " << length << " bytes";
    const Failure& failure = image.failure();
    const bool unrecognizable = length < sizeof kHeaderMagic;
    ASSERT_EQ(failure.code, unrecognizable ? FailureCode::kFormat : FailureCode::kCorrupt)
        << length;
    if (!unrecognizable) {
      ASSERT_GE(failure.offset, 0);
      ASSERT_LE(failure.offset, static_cast<int64_t>(length));
      ASSERT_TRUE(failure.message.find("truncated") != std::string::npos ||
                  failure.message.find("shorter") != std::string::npos)
          << failure.message;
    }
    if (length == 0) break;
  }
}

TEST_F(DamagedImage, AddedBytesAreFound) {
  const Bytes trailer(bytes_.end() - kPageSize, bytes_.end());
  std::vector<Bytes> additions = {trailer, bytes_};
  for (const size_t length : {size_t{1}, size_t{8}, size_t{4095}, size_t{4096}, size_t{65536}}) {
    additions.emplace_back(length);
    additions.push_back(Pattern(length, 7));
  }
  // Whole parts, followed by the trailer again.
  for (const size_t length : {size_t{4096}, size_t{65536}}) {
    Bytes addition(length);
    addition.insert(addition.end(), trailer.begin(), trailer.end());
    additions.push_back(addition);
  }
  for (const Bytes& addition : additions) {
    WriteAt(file_.fd(), addition.data(), addition.size(), length_);
    const std::optional<Finding> found = Examine(file_.path());
    ASSERT_TRUE(found.has_value()) << addition.size();
    EXPECT_EQ(found->code, FailureCode::kCorrupt) << addition.size();
    ASSERT_EQ(ftruncate(file_.fd(), static_cast<off_t>(length_)), 0);
  }
}

TEST_F(DamagedImage, BytesThatAreMissingInTheMiddleAreFound) {
  // Cuts out a page or a whole part, and moves up everything after it.
  for (const uint64_t hole : {kPageSize, kPartAlignment}) {
    for (uint64_t at = 0; at + hole < length_; at += kPageSize) {
      Bytes shorter(bytes_.begin(), bytes_.begin() + static_cast<int64_t>(at));
      shorter.insert(shorter.end(), bytes_.begin() + static_cast<int64_t>(at + hole), bytes_.end());
      MemoryFile file;
      WriteAt(file.fd(), shorter.data(), shorter.size(), 0);
      ASSERT_TRUE(Examine(file.path()).has_value()) << hole << " bytes at " << at;
    }
  }
}

TEST_F(DamagedImage, ASnapshotInASnapshotIsNotTakenForIt) {
  // The file is cut directly after the image that one of its sections holds, so it
  // ends in a valid trailer.
  MemoryFile outer;
  WriteImage(outer.fd(), {{"inner", bytes_}, {"more", Pattern(9, 9)}}, "");
  ASSERT_FALSE(Examine(outer.path()).has_value());
  ASSERT_EQ(ftruncate(outer.fd(), static_cast<off_t>(kPartAlignment + length_)), 0);
  const std::optional<Finding> found = Examine(outer.path());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->code, FailureCode::kCorrupt);
}

TEST_F(DamagedImage, TwoDamagedPlacesAreTwoProblemsInTheOrderOfTheFile) {
  const uint64_t places[] = {kPageSize + 5, parts_[2].start + 17, parts_[4].start + 4096,
                             parts_[5].start + 1};
  for (const uint64_t at : places) {
    const std::byte value = bytes_[at] ^ std::byte{0x42};
    WriteAt(file_.fd(), &value, 1, at);
  }
  Result<ImageFile> image = ImageFile::Open(file_.path());
  ASSERT_TRUE(image.ok());
  ReadControl control;
  const auto problems = image.value().Verify(100, &control).value();
  ASSERT_EQ(problems.size(), 4U);
  EXPECT_EQ(problems[0].offset, places[0]);
  EXPECT_EQ(problems[0].section, "");
  EXPECT_EQ(problems[1].offset, parts_[2].start);
  EXPECT_EQ(problems[1].section, sections_[0].name);
  EXPECT_EQ(problems[2].offset, places[2]);
  EXPECT_EQ(problems[2].section, sections_[1].name);
  EXPECT_EQ(problems[3].offset, parts_[5].start);
}

// With every checksum repaired, only the rules are left to find a change. Tests which bytes may
// differ in a file that is accepted.
class ResealedImage : public DamagedImage {
 protected:
  enum class Verdict : uint8_t { kRefused, kFree, kEither };

  // Changes each byte of *fields in turn. verdict_of(offset) returns the expected outcome.
  template <typename Struct, typename VerdictOf>
  void ChangeEachByte(EditableImage* image, Struct* fields, const char* what,
                      VerdictOf verdict_of) {
    ChangeEach(image, reinterpret_cast<std::byte*>(fields), sizeof(Struct), what, verdict_of);
  }
  template <typename VerdictOf>
  void ChangeEach(EditableImage* image, std::byte* bytes, size_t length, const char* what,
                  VerdictOf verdict_of) {
    for (size_t i = 0; i < length; i++) {
      const std::byte original = bytes[i];
      for (const std::byte value : OtherValues(original)) {
        bytes[i] = value;
        image->Store(file_.fd());
        const std::optional<Finding> found = Examine(file_.path());
        const Verdict verdict = verdict_of(i);
        if (verdict == Verdict::kRefused) {
          ASSERT_TRUE(found.has_value()) << what << ", byte " << i << " is not checked";
          ASSERT_NE(found->code, FailureCode::kIo)
              << what << ", byte " << i << ": " << found->message;
        } else if (verdict == Verdict::kFree) {
          ASSERT_FALSE(found.has_value()) << what << ", byte " << i << ": " << found->message;
        }
      }
      bytes[i] = original;
    }
    image->Store(file_.fd());
    ASSERT_FALSE(Examine(file_.path()).has_value()) << what;
  }

  static bool Within(size_t at, size_t start, size_t length) {
    return at >= start && at < start + length;
  }
};

TEST_F(ResealedImage, TheHeaderHasNoFreedomButForTimeMinorVersionAndReservedBytes) {
  EditableImage image(bytes_);
  ChangeEachByte(&image, &image.header, "header", [](size_t at) {
    // Store() recomputes the checksum, whatever its value is.
    if (at >= offsetof(FileHeader, checksum)) return Verdict::kFree;
    const bool free = Within(at, offsetof(FileHeader, version_minor), 2) ||
                      Within(at, offsetof(FileHeader, reserved), 4) ||
                      Within(at, offsetof(FileHeader, frozen_at_ns), 8);
    return free ? Verdict::kFree : Verdict::kRefused;
  });
  ChangeEach(&image, image.header_rest.data(), 64, "rest of the header page",
             [](size_t) { return Verdict::kFree; });
}

TEST_F(ResealedImage, TheTrailerHasNoFreedom) {
  EditableImage image(bytes_);
  ChangeEachByte(&image, &image.trailer, "trailer", [](size_t at) {
    const bool recomputed = Within(at, offsetof(FileTrailer, index_checksum), 8) ||
                            Within(at, offsetof(FileTrailer, sums_checksum), 8) ||
                            Within(at, offsetof(FileTrailer, sections_checksum), 8) ||
                            Within(at, offsetof(FileTrailer, metadata_checksum), 8) ||
                            at >= offsetof(FileTrailer, checksum);
    return recomputed ? Verdict::kFree : Verdict::kRefused;
  });
}

TEST_F(ResealedImage, ASectionRecordHasNoFreedomButForReservedBytes) {
  EditableImage image(bytes_);
  for (SectionRecord& record : image.records) {
    const uint64_t length = record.byte_length;
    ChangeEachByte(&image, &record, "section record", [&](size_t at) {
      if (at >= offsetof(SectionRecord, reserved)) return Verdict::kFree;
      // A section that is one byte longer within its last page makes another valid file, provided
      // that the padding it adds is zero.
      if (at == 0 && length % kPageSize != 0) return Verdict::kEither;
      if (at == 1 && length < kPageSize) return Verdict::kEither;
      if (at == 1) return Verdict::kEither;
      return Verdict::kRefused;
    });
  }
}

TEST_F(ResealedImage, AnIndexEntryHasNoFreedom) {
  EditableImage image(bytes_);
  for (BlockEntry& entry : image.index) {
    ChangeEachByte(&image, &entry, "index entry", [](size_t) { return Verdict::kRefused; });
  }
}

TEST_F(ResealedImage, NamesAndMetadataAreTextOrRefused) {
  EditableImage image(bytes_);
  ChangeEach(&image, reinterpret_cast<std::byte*>(image.names.data()), image.names.size(), "names",
             [](size_t) { return Verdict::kEither; });
  ChangeEach(&image, reinterpret_cast<std::byte*>(image.metadata.data()), image.metadata.size(),
             "metadata", [](size_t) { return Verdict::kEither; });
}

TEST_F(ResealedImage, BytesBehindTheEndOfASectionAreRefused) {
  EditableImage image(bytes_);
  for (size_t i = 0; i < image.records.size(); i++) {
    const SectionRecord& record = image.records[i];
    const uint64_t end = record.data_offset + record.byte_length;
    const size_t entry = record.first_entry + record.entry_count - 1;
    for (const uint64_t at : {end, RoundUp(end, kPageSize) - 1}) {
      image.data[at] = std::byte{1};
      image.SealBlock(entry);
      image.Store(file_.fd());
      const std::optional<Finding> found = Examine(file_.path());
      ASSERT_TRUE(found.has_value()) << at;
      EXPECT_EQ(found->section, sections_[i].name);
      EXPECT_NE(found->message.find("extends beyond the end"), std::string::npos) << found->message;
      image.data[at] = std::byte{0};
      image.SealBlock(entry);
    }
  }
}

}  // namespace
}  // namespace stillframe::test
