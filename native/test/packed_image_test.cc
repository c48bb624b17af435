// A packed file reads back unchanged, and a file that no writer would make is refused, with the
// place. Tested with one hand-made file for each rule, all its checksums repaired, and by damaging
// every meaningful byte of a small file (and a sample of the bytes of noise).
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>

#include "image/block_codec.h"
#include "image/checksum.h"
#include "image/image_file.h"
#include "image/parent_search.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

Bytes PackedSample() {
  MemoryFile file;
  WriteImage(file.fd(), PackedSampleSections(), kSampleMetadata, Layout::kPacked);
  return ReadAll(file.fd());
}

// The first failure of Open or Verify; nullopt if the file was accepted.
std::optional<Failure> Examine(const std::string& path) {
  Result<ImageFile> image = OpenFrame(path, {}, {});
  if (!image.ok()) return image.failure();
  ReadControl control;
  Result<std::vector<ImageProblem>> problems = image.value().Verify(1, &control);
  if (!problems.ok()) return problems.failure();
  if (problems.value().empty()) return std::nullopt;
  const ImageProblem& problem = problems.value().front();
  Failure failure;
  failure.code = FailureCode::kCorrupt;
  failure.message = problem.reason;
  failure.offset = static_cast<int64_t>(problem.offset);
  failure.section = problem.section;
  return failure;
}

TEST(PackedImage, ComesBackAsItWas) {
  MemoryFile file;
  const auto sections = PackedSampleSections();
  WriteImage(file.fd(), sections, kSampleMetadata, Layout::kPacked);
  Result<ImageFile> opened = ImageFile::Open(file.path());
  ASSERT_TRUE(opened.ok()) << opened.failure().message;
  const ImageFile& image = opened.value();
  EXPECT_EQ(image.header().layout, Layout::kPacked);
  for (const auto check : {ImageFile::Check::kNone, ImageFile::Check::kChecksums}) {
    for (uint32_t i = 0; i < sections.size(); i++) {
      Bytes memory(sections[i].bytes.size() + 1, std::byte{0xee});
      ReadControl control;
      ASSERT_TRUE(FillMemory(image, i, memory.data(), check, &control).ok());
      EXPECT_EQ(memory.back(), std::byte{0xee}) << "bytes behind the section were touched";
      memory.pop_back();
      EXPECT_TRUE(memory == sections[i].bytes) << sections[i].name;
      EXPECT_EQ(control.bytes_done.load(), memory.size());
    }
  }
  EXPECT_FALSE(Examine(file.path()).has_value());
  EXPECT_LT(image.sections()[0].stored_bytes, kPageSize);
}

struct Rule {
  const char* name;
  std::function<void(EditableImage*)> break_it;
  const char* words;
  const char* section = "";
};
using I = EditableImage*;

void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }

constexpr const char* kPlace = "is at an impossible offset";
constexpr const char* kEntry = "not one that a writer would make";
constexpr const char* kPiece = "no writer would put it";
constexpr const char* kFrame = "cannot be decompressed";
constexpr uint64_t kHuge = ~uint64_t{0};

// Replaces the stored bytes of an entry whose block is alone in its piece.
void Replace(I i, size_t entry, const Bytes& bytes) {
  BlockEntry& block = i->index[entry];
  ASSERT_LE(bytes.size(), kPageSize);
  std::fill_n(i->data.begin() + static_cast<int64_t>(block.file_offset), kPageSize, std::byte{0});
  std::copy(bytes.begin(), bytes.end(), i->data.begin() + static_cast<int64_t>(block.file_offset));
  block.stored_length = static_cast<uint32_t>(bytes.size());
  i->SealBlock(entry);
}

Bytes Frame(const Bytes& content) {
  Bytes workspace(BlockCompressor::WorkspaceBytes(1));
  BlockCompressor compressor(workspace.data(), 1);
  Bytes frame(content.size());
  frame.resize(compressor.Compress(content.data(), content.size(), frame.data()));
  return frame;
}

// The content of "last", padded to a page.
Bytes PageOfLast() {
  Bytes page(kPageSize);
  std::fill_n(page.begin(), 300, std::byte{7});
  return page;
}

Bytes OneOf(std::initializer_list<uint8_t> bytes, size_t length) {
  Bytes out(length);
  memcpy(out.data(), bytes.begin(), bytes.size());
  return out;
}

// A frame of `content` with a different header after the magic number.
Bytes WithHeader(std::initializer_list<int> header, const Bytes& content) {
  // The header that Compress() writes: a descriptor (a single segment, a length of two bytes, a
  // checksum), then the length.
  constexpr size_t kMagic = 4;
  constexpr size_t kHeader = 3;
  Bytes frame = Frame(content);
  EXPECT_EQ(frame.at(kMagic), std::byte{0x64});
  Bytes out(frame.begin(), frame.begin() + kMagic);
  for (const int byte : header) out.push_back(static_cast<std::byte>(byte));
  out.insert(out.end(), frame.begin() + kMagic + kHeader, frame.end());
  return out;
}

const Rule kRules[] = {
    {"SectionWithAPlace", [](I i) { i->records[0].data_offset = kPartAlignment; }, kPlace, "text"},
    {"AGapBeforeThePieces",
     [](I i) { i->index[0].file_offset += kPageSize, i->index[1].file_offset += kPageSize; },
     kPiece, "text"},
    {"AGapInAPiece", [](I i) { i->index[1].file_offset++; }, kPiece, "text"},
    {"AnOverlapInAPiece", [](I i) { i->index[1].file_offset--; }, kPiece, "text"},
    {"APieceInTheHeader", [](I i) { i->index[2].file_offset = 0; }, kPiece, "noise"},
    {"TwoPiecesInOnePlace", [](I i) { i->index[4].file_offset = i->index[2].file_offset; }, kPiece},
    {"APieceThatIsNotAligned", [](I i) { i->index[4].file_offset += 8; }, kPiece, "last"},
    {"APieceBehindTheTail", [](I i) { i->index[4].file_offset += uint64_t{1} << 30; }, kPiece,
     "last"},
    {"AnOffsetThatWrapsAround", [](I i) { i->index[4].file_offset = kHuge - 4095; }, kPiece,
     "last"},
    {"TheTailFurtherOn",
     [](I i) {
       i->tail_at += kPartAlignment;
       i->Relayout();
     },
     "no writer would put it"},
    {"TheTailNotAligned",
     [](I i) {
       i->tail_at += kPageSize;
       i->Relayout();
     },
     "trailer does not describe this file"},
    {"NoStoredBytes", [](I i) { i->index[4].stored_length = 0; }, kEntry, "last"},
    {"AFrameThatHasNotShrunk", [](I i) { i->index[4].stored_length = kPageSize; }, kEntry, "last"},
    {"StoredAsItIsButShorter", [](I i) { i->index[2].stored_length = kPageSize; }, kEntry, "noise"},
    {"StoredAsItIsAndLonger", [](I i) { i->index[2].stored_length = 3 * kPageSize; }, kEntry,
     "noise"},
    {"UnknownCodec", [](I i) { i->index[4].codec = static_cast<Codec>(2); }, kEntry, "last"},
    {"AFrameCalledPages", [](I i) { i->index[4].codec = Codec::kNone; }, kEntry, "last"},
    {"PagesCalledAFrame", [](I i) { i->index[2].codec = Codec::kZstd; }, kEntry, "noise"},
    {"PresentBeyondTheBlock", [](I i) { i->index[4].present |= 2; }, kEntry, "last"},
    {"ACodecWithoutPages", [](I i) { i->index[3].codec = Codec::kZstd; }, kEntry, "zeros"},
    {"APlaceWithoutPages", [](I i) { i->index[3].file_offset = kPartAlignment; }, kEntry, "zeros"},
    {"ReservedBits", [](I i) { i->index[4].reserved = 1; }, kEntry, "last"},
    {"WrongChecksum", [](I i) { i->index[0].checksum++; }, "does not match its checksum", "text"},
    {"AFrameOfOneMorePage",
     [](I i) {
       i->index[0].present |= uint64_t{1} << 3;
       i->index[0].zero = 0;
       i->sums.insert(i->sums.begin() + 3, PageSum{1, 2});
       i->Relayout();
     },
     kFrame, "text"},
    {"AFrameOfLess", [](I i) { Replace(i, 4, Frame(Bytes(100, std::byte{7}))); }, kFrame, "last"},
    {"AFrameOfMore", [](I i) { Replace(i, 4, Frame(Bytes(kBlockSize, std::byte{7}))); }, kFrame,
     "last"},
    {"ABombOfAFrame",
     [](I i) {
       // A single segment that claims to hold 2^60 bytes, then the longest possible run of one
       // byte.
       Replace(i, 4,
               OneOf({0x28, 0xb5, 0x2f, 0xfd, 0xe4, 0, 0, 0, 0, 0, 0, 0, 0x10, 3, 0, 16, 7}, 21));
     },
     kFrame, "last"},
    {"ABombThatSaysItIsAPage",
     [](I i) {
       // Claims 4096 bytes, but contains a run of 128 KiB.
       Replace(i, 4, OneOf({0x28, 0xb5, 0x2f, 0xfd, 0x64, 0, 0x0f, 3, 0, 16, 7}, 15));
     },
     kFrame, "last"},
    {"AnEmptyFrame",
     [](I i) {
       Replace(i, 4, OneOf({0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 1, 0, 0}, 9));
     },
     kFrame, "last"},
    // The right content, in frames that a decoder accepts but no writer makes.
    {"AFrameThatDoesNotTellItsLength",
     [](I i) {
       Replace(i, 4, WithHeader({0x04, 0x38}, PageOfLast()));
     },
     kFrame, "last"},
    {"AFrameWithoutItsOwnChecksum",
     [](I i) {
       const Bytes frame = WithHeader({0x60, 0x00, 0x0f}, PageOfLast());
       Replace(i, 4, Bytes(frame.begin(), frame.end() - 4));
     },
     kFrame, "last"},
    {"AFrameWhoseOwnChecksumIsWrong",
     [](I i) {
       Bytes frame = Frame(PageOfLast());
       frame.back() ^= std::byte{1};
       Replace(i, 4, frame);
     },
     kFrame, "last"},
    {"SomethingBehindTheFrame",
     [](I i) {
       Bytes frame = Frame(PageOfLast());
       // A skippable frame, which decoders ignore.
       for (const int byte : {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 99}) {
         frame.push_back(static_cast<std::byte>(byte));
       }
       Replace(i, 4, frame);
     },
     kFrame, "last"},
    {"NothingButASkippableFrame",
     [](I i) {
       Replace(i, 4, OneOf({0x50, 0x2a, 0x4d, 0x18, 100, 0, 0, 0}, 108));
     },
     kFrame, "last"},
    {"NoFrameAtAll",
     [](I i) {
       Replace(i, 4, OneOf({1, 2, 3}, 3));
     },
     kFrame, "last"},
    {"AStoredPageOfZeros", [](I i) { Replace(i, 4, Frame(Bytes(kPageSize))); },
     "zero pages that do not match the index", "last"},
    {"AStoredPageOfZerosAsItIs",
     [](I i) {
       const auto at = static_cast<int64_t>(i->index[2].file_offset);
       std::fill_n(i->data.begin() + at, kPageSize, std::byte{0});
       i->SealBlock(2);
     },
     "zero pages that do not match the index", "noise"},
    {"BytesBehindTheSection", [](I i) { Replace(i, 4, Frame(Bytes(kPageSize, std::byte{7}))); },
     "extends beyond", "last"},
    {"BytesBehindTheSectionAsItIs",
     [](I i) {
       i->data[i->index[2].file_offset + 2 * kPageSize - 1] = std::byte{1};
       i->SealBlock(2);
     },
     "extends beyond", "noise"},
    {"BytesBehindAPiece", [](I i) { i->data[i->index[2].file_offset - 1] = std::byte{1}; },
     "must be zero"},
    {"BytesBeforeTheTail", [](I i) { i->data.back() = std::byte{1}; }, "must be zero"},
    {"BytesBehindTheHeader", [](I i) { i->data[kPartAlignment - 1] = std::byte{1}; },
     "must be zero"},
};

class PackedRule : public ::testing::TestWithParam<Rule> {};

TEST_P(PackedRule, IsEnforced) {
  const Rule& rule = GetParam();
  EditableImage image(PackedSample());
  rule.break_it(&image);
  MemoryFile file;
  image.Store(file.fd());
  const std::optional<Failure> found = Examine(file.path());
  ASSERT_TRUE(found.has_value()) << "accepted";
  EXPECT_EQ(found->code, FailureCode::kCorrupt) << found->message;
  EXPECT_NE(found->message.find(rule.words), std::string::npos) << found->message;
  if (*rule.section != '\0') {
    EXPECT_EQ(found->section, rule.section);
  }
  EXPECT_GE(found->offset, 0);
}
INSTANTIATE_TEST_SUITE_P(All, PackedRule, ::testing::ValuesIn(kRules),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(PackedImage, AnEntryOfAnotherBlockOfTheSameLengthIsRefused) {
  MemoryFile file;
  WriteImage(file.fd(), {{"two", Pattern(2 * kBlockSize, 1)}}, "", Layout::kPacked);
  EditableImage image(ReadAll(file.fd()));
  image.index[0].block = 1;
  image.Store(file.fd());
  Result<ImageFile> opened = ImageFile::Open(file.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.failure().message.find(kEntry), std::string::npos) << opened.failure().message;
}

TEST(PackedImage, WithoutChecksumsDamageIsToldWhereItCanBe) {
  EditableImage image(PackedSample());
  Replace(&image, 4, OneOf({1, 2, 3}, 3));
  MemoryFile file;
  image.Store(file.fd());
  Result<ImageFile> opened = ImageFile::Open(file.path());
  ASSERT_TRUE(opened.ok());
  Bytes memory(300);
  ReadControl control;
  Status read = FillMemory(opened.value(), 3, memory.data(), ImageFile::Check::kNone, &control);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.failure().code, FailureCode::kCorrupt);
}

TEST(PackedImage, NoDamagedByteGoesUnnoticed) {
  const Bytes sample = PackedSample();
  MemoryFile file;
  WriteAt(file.fd(), sample.data(), sample.size(), 0);
  ASSERT_FALSE(Examine(file.path()).has_value());
  const EditableImage image(sample);
  const uint64_t data_end = image.index[4].file_offset + kPageSize;
  const uint64_t noise = image.index[2].file_offset;
  const auto carries = [&](uint64_t at) {
    // Each byte takes an open and a read of a file, too slow for the short mode.
    if (!LongMode() && at % 5 != 0) return false;
    // Of the bytes that only one checksum covers, a sample is enough.
    if (at > noise + 64 && at < noise + image.index[2].stored_length - 64) return at % 17 == 0;
    return at < sizeof(FileHeader) || (at >= kPartAlignment && at < data_end) ||
           at >= image.trailer.index_offset || at % 997 == 0;
  };
  for (uint64_t at = 0; at < sample.size(); at++) {
    if (!carries(at)) continue;
    // One change per byte, in rotation: each one starts the threads of a reader, and three changes
    // per byte would take minutes.
    constexpr std::array kChanges = {0x01, 0x80, 0xff};
    const int change = kChanges[at % kChanges.size()];
    const std::byte other = sample[at] ^ static_cast<std::byte>(change);
    WriteAt(file.fd(), &other, 1, at);
    ASSERT_TRUE(Examine(file.path()).has_value()) << "byte " << at << " ^ " << change;
    WriteAt(file.fd(), &sample[at], 1, at);
  }
  EXPECT_FALSE(Examine(file.path()).has_value());
}

TEST(PackedImage, NoLengthButItsOwnIsAccepted) {
  const Bytes sample = PackedSample();
  for (uint64_t length = 0; length < sample.size();) {
    MemoryFile file;
    WriteAt(file.fd(), sample.data(), length, 0);
    ASSERT_TRUE(Examine(file.path()).has_value()) << length;
    // Only whole pages can pass for a file; of the lengths in between, take a sample.
    length = std::min(length + 509, length / kPageSize * kPageSize + kPageSize);
  }
  for (const uint64_t more : {uint64_t{1}, kPageSize, kPartAlignment}) {
    MemoryFile file;
    WriteAt(file.fd(), sample.data(), sample.size(), 0);
    ASSERT_EQ(ftruncate(file.fd(), static_cast<off_t>(sample.size() + more)), 0);
    ASSERT_TRUE(Examine(file.path()).has_value()) << more;
    // Again, with the trailer at the end.
    WriteAt(file.fd(), sample.data() + sample.size() - kPageSize, kPageSize,
            sample.size() + more - kPageSize);
    ASSERT_TRUE(Examine(file.path()).has_value()) << more;
  }
}

// With every checksum of the tail repaired, only the rules remain. Finds the bytes that may differ
// in a file that is accepted.
class ResealedPackedImage : public ::testing::Test {
 protected:
  // Changes each byte of *fields in turn; may_differ(offset) tells which changes a reader must
  // accept.
  template <typename Struct, typename MayDiffer>
  void ChangeEachByte(Struct* fields, const std::string& what, MayDiffer may_differ) {
    auto* bytes = reinterpret_cast<std::byte*>(fields);
    for (size_t at = 0; at < sizeof(Struct); at++) {
      const std::byte original = bytes[at];
      for (const int change : {0x01, 0x02, 0x10, 0x80, 0xff}) {
        bytes[at] = original ^ static_cast<std::byte>(change);
        image_.Store(file_.fd());
        const std::optional<Failure> found = Examine(file_.path());
        ASSERT_EQ(found.has_value(), !may_differ(at))
            << what << ", byte " << at << " ^ " << change << ": "
            << (found ? found->message : "accepted");
        if (found) {
          ASSERT_NE(found->code, FailureCode::kIo) << found->message;
        }
      }
      bytes[at] = original;
    }
    image_.Store(file_.fd());
    ASSERT_FALSE(Examine(file_.path()).has_value()) << what;
  }
  static bool Within(size_t at, size_t start, size_t length) {
    return at >= start && at < start + length;
  }

  MemoryFile file_;
  std::vector<SampleSection> sections_ = PackedSampleSections();
  EditableImage image_{PackedSample()};
};

TEST_F(ResealedPackedImage, AnIndexEntryHasNoFreedom) {
  for (size_t i = 0; i < image_.index.size(); i++) {
    ChangeEachByte(&image_.index[i], "index entry " + std::to_string(i),
                   [](size_t) { return false; });
  }
}

TEST_F(ResealedPackedImage, ASectionRecordHasNoFreedomButForReservedBytesAndZerosAtItsEnd) {
  for (size_t i = 0; i < image_.records.size(); i++) {
    const SectionRecord original = image_.records[i];
    ChangeEachByte(&image_.records[i], "section record " + std::to_string(i), [&](size_t at) {
      if (at >= offsetof(SectionRecord, reserved)) return true;
      // A section that ends elsewhere in its last page makes a different but equally valid file if
      // only zeros are added or removed.
      const uint64_t length = image_.records[i].byte_length;
      const Bytes& bytes = sections_[i].bytes;
      // The index locates every page, so the number of pages cannot change.
      if (length == original.byte_length ||
          DivideRoundingUp(length, kPageSize) != DivideRoundingUp(original.byte_length, kPageSize))
        return false;
      return std::all_of(
          bytes.begin() + static_cast<int64_t>(std::min<uint64_t>(length, bytes.size())),
          bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
    });
  }
}

TEST_F(ResealedPackedImage, HeaderAndTrailerHaveNoFreedomButForTimeMinorVersionAndReservedBytes) {
  ChangeEachByte(&image_.header, "header", [](size_t at) {
    // Store() recomputes the checksum, whatever it was.
    return at >= offsetof(FileHeader, checksum) ||
           Within(at, offsetof(FileHeader, version_minor), 2) ||
           Within(at, offsetof(FileHeader, reserved), 4) ||
           Within(at, offsetof(FileHeader, frozen_at_ns), 8);
  });
  ChangeEachByte(&image_.trailer, "trailer", [](size_t at) {
    return Within(at, offsetof(FileTrailer, index_checksum), 8) ||
           Within(at, offsetof(FileTrailer, sums_checksum), 8) ||
           Within(at, offsetof(FileTrailer, sections_checksum), 8) ||
           Within(at, offsetof(FileTrailer, metadata_checksum), 8) ||
           at >= offsetof(FileTrailer, checksum);
  });
}

}  // namespace
}  // namespace stillframe::test
