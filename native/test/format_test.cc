// The bytes of the format are as docs/FORMAT.md describes them: offsets of every field, constants,
// and the places of sections and tail. A change here breaks every existing file.
#include "image/format.h"

#include <gtest/gtest.h>

#include <string>

#include "image/checksum.h"
#include "image/page_sums.h"
#include "image/tail.h"
#include "image/utf8.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

TEST(Format, ConstantsAreFixedForEver) {
  EXPECT_EQ(kPageSize, 4096U);
  EXPECT_EQ(kPagesPerBlock, 64U);
  EXPECT_EQ(kBlockSize, 262144U);
  EXPECT_EQ(kPartAlignment, 65536U);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(kHeaderMagic), 8), "\x89SFRAM\r\n");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(kTrailerMagic), 8), "SFRAMEND");
}

TEST(Format, FieldsLieWhereTheDocumentSays) {
  EXPECT_EQ(offsetof(FileHeader, version_major), 8U);
  EXPECT_EQ(offsetof(FileHeader, version_minor), 10U);
  EXPECT_EQ(offsetof(FileHeader, header_length), 12U);
  EXPECT_EQ(offsetof(FileHeader, id), 16U);
  EXPECT_EQ(offsetof(FileHeader, parent_id), 32U);
  EXPECT_EQ(offsetof(FileHeader, layout), 48U);
  EXPECT_EQ(offsetof(FileHeader, page_size), 52U);
  EXPECT_EQ(offsetof(FileHeader, block_size), 56U);
  EXPECT_EQ(offsetof(FileHeader, reserved), 60U);
  EXPECT_EQ(offsetof(FileHeader, frozen_at_ns), 64U);
  EXPECT_EQ(offsetof(FileHeader, parent_state), 72U);
  EXPECT_EQ(offsetof(FileHeader, checksum), 88U);
  EXPECT_EQ(sizeof(FileHeader), 96U);

  EXPECT_EQ(offsetof(BlockEntry, file_offset), 0U);
  EXPECT_EQ(offsetof(BlockEntry, present), 8U);
  EXPECT_EQ(offsetof(BlockEntry, zero), 16U);
  EXPECT_EQ(offsetof(BlockEntry, checksum), 24U);
  EXPECT_EQ(offsetof(BlockEntry, section), 32U);
  EXPECT_EQ(offsetof(BlockEntry, block), 36U);
  EXPECT_EQ(offsetof(BlockEntry, stored_length), 40U);
  EXPECT_EQ(offsetof(BlockEntry, codec), 44U);
  EXPECT_EQ(offsetof(BlockEntry, reserved), 46U);
  EXPECT_EQ(sizeof(BlockEntry), 48U);
  EXPECT_EQ(offsetof(PageSum, high), 8U);
  EXPECT_EQ(sizeof(PageSum), 16U);

  EXPECT_EQ(offsetof(SectionRecord, byte_length), 0U);
  EXPECT_EQ(offsetof(SectionRecord, data_offset), 8U);
  EXPECT_EQ(offsetof(SectionRecord, first_entry), 16U);
  EXPECT_EQ(offsetof(SectionRecord, entry_count), 24U);
  EXPECT_EQ(offsetof(SectionRecord, name_offset), 32U);
  EXPECT_EQ(offsetof(SectionRecord, name_length), 36U);
  EXPECT_EQ(offsetof(SectionRecord, reserved), 40U);
  EXPECT_EQ(sizeof(SectionRecord), 64U);

  EXPECT_EQ(offsetof(FileTrailer, id), 8U);
  EXPECT_EQ(offsetof(FileTrailer, file_length), 24U);
  EXPECT_EQ(offsetof(FileTrailer, index_offset), 32U);
  EXPECT_EQ(offsetof(FileTrailer, index_count), 40U);
  EXPECT_EQ(offsetof(FileTrailer, index_checksum), 48U);
  EXPECT_EQ(offsetof(FileTrailer, sum_count), 56U);
  EXPECT_EQ(offsetof(FileTrailer, sums_checksum), 64U);
  EXPECT_EQ(offsetof(FileTrailer, state), 72U);
  EXPECT_EQ(offsetof(FileTrailer, sections_offset), 88U);
  EXPECT_EQ(offsetof(FileTrailer, section_count), 96U);
  EXPECT_EQ(offsetof(FileTrailer, names_length), 104U);
  EXPECT_EQ(offsetof(FileTrailer, sections_checksum), 112U);
  EXPECT_EQ(offsetof(FileTrailer, metadata_offset), 120U);
  EXPECT_EQ(offsetof(FileTrailer, metadata_length), 128U);
  EXPECT_EQ(offsetof(FileTrailer, metadata_checksum), 136U);
  EXPECT_EQ(offsetof(FileTrailer, checksum), 144U);
  EXPECT_EQ(sizeof(FileTrailer), 152U);
}

TEST(Format, ChecksumIsXxh3WithSeedZero) {
  // Published test values of the algorithm.
  EXPECT_EQ(Checksum("", 0), 0x2d06800538d394c2U);
  EXPECT_EQ(Checksum("a", 1), 0xe6c632b61e964e1fU);
  EXPECT_EQ(Checksum("abc", 3), 0x78af5f94892f3950U);
}

TEST(Format, TheSumOfAPageIsXxh3Of128Bits) {
  // The output of xxhsum -H2 for 4,096 bytes, each 1.
  const Bytes page(kPageSize, std::byte{1});
  const PageSum sum = SumOfPage(page.data());
  EXPECT_EQ(sum.high, 0x786d3dc79e646a55U);
  EXPECT_EQ(sum.low, 0x40d4d8a9314dfcd8U);
}

TEST(Format, TheStateDependsOnWhatIsWhereAndNotOnTheOrder) {
  PageSum sums[kPagesPerBlock] = {};
  StateSum empty;
  empty.Add(0, 0, sums);
  EXPECT_EQ(empty.value(), (PageSum{0, 0})) << "zeros count for nothing";
  sums[3] = {1, 2};
  PageSum others[kPagesPerBlock] = {};
  others[4] = {1, 2};
  StateSum one;
  one.Add(0, 7, sums);
  one.Add(1, 2, others);
  StateSum other;
  other.Add(1, 2, others);
  other.Add(0, 7, sums);
  EXPECT_EQ(one.value(), other.value());
  const auto alone = [](uint32_t section, uint64_t block, const PageSum* of) {
    StateSum state;
    state.Add(section, block, of);
    return state.value();
  };
  const PageSum here = alone(0, 7, sums);
  EXPECT_NE(here, alone(1, 7, sums));
  EXPECT_NE(here, alone(0, 8, sums));
  EXPECT_NE(here, alone(0, 7, others));
}

TEST(Format, ChecksumInPiecesIsTheChecksum) {
  const Bytes bytes = Pattern(10'000, 9);
  for (const size_t piece : {size_t{1}, size_t{239}, size_t{256}, size_t{4096}, bytes.size()}) {
    RunningChecksum running;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      running.Update(bytes.data() + at, std::min(piece, bytes.size() - at));
    }
    EXPECT_EQ(running.Value(), Checksum(bytes.data(), bytes.size())) << piece;
  }
}

TEST(Format, BlocksOfASection) {
  EXPECT_EQ(BlockCount(0), 0U);
  EXPECT_EQ(BlockCount(1), 1U);
  EXPECT_EQ(BlockCount(kBlockSize), 1U);
  EXPECT_EQ(BlockCount(kBlockSize + 1), 2U);
  EXPECT_EQ(PaddedBlockLength(1, 0), kPageSize);
  EXPECT_EQ(PaddedBlockLength(kPageSize + 1, 0), 2 * kPageSize);
  EXPECT_EQ(PaddedBlockLength(kBlockSize, 0), kBlockSize);
  EXPECT_EQ(PaddedBlockLength(kBlockSize + 1, 0), kBlockSize);
  EXPECT_EQ(PaddedBlockLength(kBlockSize + 1, 1), kPageSize);
  EXPECT_EQ(PaddedBlockLength(2 * kBlockSize, 1), kBlockSize);
}

TEST(Layout, PartsAreAlignedAndDoNotOverlap) {
  const uint64_t tera = uint64_t{1} << 40;
  const std::vector<ImageDescription::Section> sections = {
      {"a", 1}, {"empty", 0}, {"b", kPartAlignment}, {"c", tera + 1}, {"d", kBlockSize * 17}};
  const ImageLayout layout = PlanLayout(sections);
  ASSERT_EQ(layout.sections.size(), sections.size());
  uint64_t end = kPartAlignment;
  uint64_t entries = 0;
  uint64_t chunks = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < sections.size(); i++) {
    const SaveSection& section = layout.sections[i];
    EXPECT_EQ(section.byte_length, sections[i].byte_length);
    EXPECT_EQ(section.data_offset % kPartAlignment, 0U);
    EXPECT_GE(section.data_offset, end);
    EXPECT_LT(section.data_offset, end + kPartAlignment);
    EXPECT_EQ(section.first_entry, entries);
    EXPECT_EQ(section.first_chunk, chunks);
    end = section.data_offset + section.byte_length;
    entries += BlockCount(section.byte_length);
    chunks += DivideRoundingUp(section.byte_length, kChunkSize);
    bytes += section.byte_length;
  }
  EXPECT_EQ(layout.block_count, entries);
  EXPECT_EQ(layout.chunk_count, chunks);
  EXPECT_EQ(layout.byte_length, bytes);
  EXPECT_EQ(layout.data_end % kPartAlignment, 0U);
  EXPECT_GE(layout.data_end, end);
  EXPECT_LT(layout.data_end, end + kPartAlignment);
}

TEST(Layout, TheLargestFileThatTheLimitsAllowDoesNotOverflow) {
  const std::vector<ImageDescription::Section> sections(kMaxSections, {"s", kMaxSectionLength});
  const ImageLayout layout = PlanLayout(sections);
  EXPECT_EQ(layout.data_end, kPartAlignment + kMaxSections * kMaxSectionLength);
  EXPECT_LT(layout.data_end, uint64_t{1} << 63);
  EXPECT_EQ(layout.block_count, kMaxSections * (kMaxSectionLength / kBlockSize));
}

TEST(Utf8, TakesWellFormedTextOnly) {
  const std::string good[] = {"",
                              "plain",
                              "\x7f",
                              "\xc2\x80",
                              "\xdf\xbf",
                              "\xe0\xa0\x80",
                              "\xed\x9f\xbf",
                              "\xee\x80\x80",
                              "\xef\xbf\xbf",
                              "\xf0\x90\x80\x80",
                              "\xf4\x8f\xbf\xbf"};
  for (const std::string& text : good) EXPECT_TRUE(IsUtf8WithoutNul(text)) << text;
  const std::string bad[] = {std::string(1, '\0'),
                             std::string("a\0b", 3),
                             "\x80",
                             "\xbf",
                             "\xc0\x80",
                             "\xc1\xbf",
                             "\xc2",
                             "a\xc2",
                             "\xc2\x41",
                             "\xe0\x9f\xbf",
                             "\xe0\xa0",
                             "\xed\xa0\x80",
                             "\xed\xbf\xbf",
                             "\xf0\x8f\xbf\xbf",
                             "\xf0\x90\x80",
                             "\xf4\x90\x80\x80",
                             "\xf5\x80\x80\x80",
                             "\xff",
                             "\xc2\xc2\x80"};
  for (const std::string& text : bad) EXPECT_FALSE(IsUtf8WithoutNul(text)) << text;
}

}  // namespace
}  // namespace stillframe::test
