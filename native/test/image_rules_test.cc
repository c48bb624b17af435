// Every rule of the format is enforced by itself: a file with valid checksums that breaks one rule
// is refused with the right code and message. And whatever sizes a file claims, the reader needs
// neither much memory nor much time: each of these files is opened under a limit on the address
// space.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <functional>
#include <optional>

#include "base/small_file.h"
#include "image/image_file.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // their shadow needs terabytes of address space
#else
constexpr bool kSanitized = false;
#endif

// Bytes of address space that reading any small file may take, in addition to what the process has.
constexpr uint64_t kSpareBytes = uint64_t{100} << 20;
// Processor time, so that the load of the machine makes no difference.
constexpr double kPatienceSeconds = 5;
constexpr uint64_t kHuge = ~uint64_t{0};

class AddressSpaceLimit {
 public:
  explicit AddressSpaceLimit(uint64_t spare_bytes) {
    getrlimit(RLIMIT_AS, &before_);
    if (kSanitized) return;
    const std::string status = ReadSmallFile("/proc/self/status").value_or("");
    rlimit limit = before_;
    limit.rlim_cur = NumberAfter(status, "VmSize:").value_or(0) * 1024 + spare_bytes;
    EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  }
  AddressSpaceLimit(const AddressSpaceLimit&) = delete;
  AddressSpaceLimit& operator=(const AddressSpaceLimit&) = delete;
  ~AddressSpaceLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

// Runs Open and Verify under the limits. Returns nothing if the file was accepted.
std::optional<Failure> Examine(const std::string& path) {
  const AddressSpaceLimit limit(kSpareBytes);
  const std::clock_t started = std::clock();
  std::optional<Failure> found;
  Result<ImageFile> image = ImageFile::Open(path);
  if (!image.ok()) {
    found = image.failure();
  } else {
    ReadControl control;
    Result<std::vector<ImageProblem>> problems = image.value().Verify(1, &control);
    if (!problems.ok()) {
      found = problems.failure();
    } else if (!problems.value().empty()) {
      const ImageProblem& problem = problems.value().front();
      found.emplace();
      found->code = FailureCode::kCorrupt;
      found->message = problem.reason;
      found->offset = static_cast<int64_t>(problem.offset);
      found->section = problem.section;
    }
  }
  EXPECT_LT(static_cast<double>(std::clock() - started) / CLOCKS_PER_SEC, kPatienceSeconds);
  return found;
}

Bytes SampleFile() {
  MemoryFile file;
  WriteImage(file.fd(), SampleSections(), kSampleMetadata);
  return ReadAll(file.fd());
}

struct Rule {
  const char* name;
  std::function<void(EditableImage*)> break_it;
  FailureCode code;
  const char* words;
  const char* section = "";
};

void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }

class ImageRule : public ::testing::TestWithParam<Rule> {};

TEST_P(ImageRule, IsEnforced) {
  const Rule& rule = GetParam();
  EditableImage image(SampleFile());
  rule.break_it(&image);
  MemoryFile file;
  image.Store(file.fd());
  const std::optional<Failure> found = Examine(file.path());
  ASSERT_TRUE(found.has_value()) << "accepted";
  EXPECT_EQ(found->code, rule.code) << found->message;
  EXPECT_NE(found->message.find(rule.words), std::string::npos) << found->message;
  EXPECT_EQ(found->section, rule.section);
  if (rule.code == FailureCode::kCorrupt) {
    EXPECT_GE(found->offset, 0);
  }
}

constexpr auto kCorrupt = FailureCode::kCorrupt;
constexpr auto kVersion = FailureCode::kVersion;
constexpr const char* kSizes = "sizes that no version";
constexpr const char* kLimits = "beyond all limits";
constexpr const char* kTrailer = "trailer does not describe this file";
constexpr const char* kFit = "do not fit together";
constexpr const char* kName = "is outside the table of names";
constexpr const char* kPlace = "is at an impossible offset";
constexpr const char* kNoParent = "parent that it cannot have";
constexpr const char* kEntry = "not one that a writer would make";
using I = EditableImage*;

const Rule kHeaderRules[] = {
    {"NewerMajorVersion", [](I i) { i->header.version_major = kVersionMajor + 1; }, kVersion,
     "update"},
    {"LargestVersion", [](I i) { i->header.version_major = 0xffff; }, kVersion, "65535"},
    {"VersionZero", [](I i) { i->header.version_major = 0; }, kCorrupt, kSizes},
    {"OtherLayout", [](I i) { i->header.layout = Layout::kPacked; }, kCorrupt, kPlace, "first"},
    {"NextLayout", [](I i) { i->header.layout = static_cast<Layout>(2); }, kVersion, "layout 2"},
    {"UnknownLayout", [](I i) { i->header.layout = static_cast<Layout>(77); }, kVersion,
     "layout 77"},
    {"ParentOfAFlatFile", [](I i) { i->header.parent_id[15] = 1; }, kCorrupt, kNoParent},
    {"ParentStateWithoutAParent", [](I i) { i->header.parent_state.high = 1; }, kCorrupt,
     kNoParent},
    {"HeaderLength", [](I i) { i->header.header_length = 8192; }, kCorrupt, kSizes},
    {"PageSize", [](I i) { i->header.page_size = 16384; }, kCorrupt, kSizes},
    {"PageSizeZero", [](I i) { i->header.page_size = 0; }, kCorrupt, kSizes},
    {"BlockSize", [](I i) { i->header.block_size = 1U << 20; }, kCorrupt, kSizes},
    {"OtherId", [](I i) { i->header.id[0] ^= 1; }, kCorrupt, "different files"},
};

const Rule kTrailerRules[] = {
    {"Magic", [](I i) { i->trailer.magic[0] = 's'; }, kCorrupt, "no trailer"},
    {"LengthOnePageLess", [](I i) { i->trailer.file_length -= kPageSize; }, kCorrupt,
     "shorter or longer"},
    {"LengthHuge", [](I i) { i->trailer.file_length = kHuge; }, kCorrupt, "shorter or longer"},
    {"NoSections",
     [](I i) {
       i->records.clear();
       i->names.clear();
       i->index.clear();
       i->sums.clear();
       i->data.resize(kPartAlignment);
       i->tail_at = kPartAlignment;
       i->Relayout();
     },
     kCorrupt, kLimits},
    {"SectionCountHuge", [](I i) { i->trailer.section_count = kHuge; }, kCorrupt, kLimits},
    {"SectionCountWraps", [](I i) { i->trailer.section_count += uint64_t{1} << 58; }, kCorrupt,
     kLimits},
    {"SectionCountAboveLimit", [](I i) { i->trailer.section_count = kMaxSections + 1; }, kCorrupt,
     kLimits},
    {"SectionCountOneMore", [](I i) { i->trailer.section_count++; }, kCorrupt, kTrailer},
    {"NamesHuge", [](I i) { i->trailer.names_length = kHuge; }, kCorrupt, kLimits},
    {"NamesLonger", [](I i) { i->trailer.names_length++; }, kCorrupt, kTrailer},
    {"MetadataHuge", [](I i) { i->trailer.metadata_length = kHuge; }, kCorrupt, kLimits},
    {"MetadataAboveLimit", [](I i) { i->trailer.metadata_length = kMaxMetadataLength + 1; },
     kCorrupt, kLimits},
    {"MetadataAtLimit", [](I i) { i->trailer.metadata_length = kMaxMetadataLength; }, kCorrupt,
     kTrailer},
    {"MetadataElsewhere", [](I i) { i->trailer.metadata_offset = 0; }, kCorrupt, kTrailer},
    {"MetadataWraps", [](I i) { i->trailer.metadata_offset = kHuge - 1; }, kCorrupt, kTrailer},
    {"IndexCountHuge", [](I i) { i->trailer.index_count = kHuge; }, kCorrupt, kLimits},
    {"IndexCountWraps", [](I i) { i->trailer.index_count += uint64_t{1} << 61; }, kCorrupt,
     kLimits},
    {"IndexCountAtLimit", [](I i) { i->trailer.index_count = kMaxSectionLength; }, kCorrupt,
     kTrailer},
    {"IndexCountOneLess", [](I i) { i->trailer.index_count--; }, kCorrupt, kTrailer},
    {"SumCountHuge", [](I i) { i->trailer.sum_count = kHuge; }, kCorrupt, kLimits},
    {"SumCountWraps", [](I i) { i->trailer.sum_count += uint64_t{1} << 60; }, kCorrupt, kLimits},
    {"SumCountAtLimit", [](I i) { i->trailer.sum_count = kMaxSectionLength; }, kCorrupt, kTrailer},
    {"SumCountOneLess", [](I i) { i->trailer.sum_count--; }, kCorrupt, kTrailer},
    {"OneSumMore",
     [](I i) {
       i->sums.push_back({1, 2});
       i->Relayout();
     },
     kCorrupt, "more or fewer sums than pages"},
    {"OtherSum", [](I i) { i->sums[1].high ^= 1; }, kCorrupt, "pages that do not match their sums",
     "first"},
    {"OtherState", [](I i) { i->trailer.state.low ^= 1; }, kCorrupt,
     "does not hold the memory that was frozen"},
    {"IndexInTheHeader", [](I i) { i->trailer.index_offset = 0; }, kCorrupt, kTrailer},
    {"IndexHuge", [](I i) { i->trailer.index_offset = kHuge - kPartAlignment + 1; }, kCorrupt,
     kTrailer},
    {"IndexNotAligned",
     [](I i) {
       i->tail_at += kPageSize;
       i->Relayout();
     },
     kCorrupt, kTrailer},
    {"SectionsElsewhere", [](I i) { i->trailer.sections_offset -= 8; }, kCorrupt, kTrailer},
    {"EmptyPageBeforeTheTrailer", [](I i) { i->trailer.file_length += kPageSize; }, kCorrupt,
     kTrailer},
};

const Rule kSectionRules[] = {
    {"LengthHuge", [](I i) { i->records[0].byte_length = kHuge; }, kCorrupt,
     "larger than an address space", "first"},
    {"LengthAboveLimit", [](I i) { i->records[0].byte_length = kMaxSectionLength + 1; }, kCorrupt,
     "larger than an address space", "first"},
    {"LengthAtLimit", [](I i) { i->records[0].byte_length = kMaxSectionLength; }, kCorrupt, kFit},
    {"AllLengthsAtLimit",
     [](I i) {
       for (auto& r : i->records) r.byte_length = kMaxSectionLength;
     },
     kCorrupt, kFit},
    {"OnePartLonger", [](I i) { i->records[0].byte_length += kPartAlignment; }, kCorrupt, kFit},
    {"LongerByABlockLessElsewhere",
     [](I i) {
       i->records[0].byte_length += kBlockSize;
       i->records[1].byte_length -= kBlockSize;
     },
     kCorrupt, kPlace, "first"},
    {"Overlap", [](I i) { i->records[1].data_offset = i->records[0].data_offset; }, kCorrupt,
     kPlace, "zero then some"},
    {"InTheHeader", [](I i) { i->records[0].data_offset = 0; }, kCorrupt, kPlace, "first"},
    {"BehindTheFile", [](I i) { i->records[2].data_offset = kHuge - 4095; }, kCorrupt, kPlace,
     "\xc3\xa9"},
    {"FirstEntry", [](I i) { i->records[1].first_entry = 0; }, kCorrupt, kPlace, "zero then some"},
    {"FirstEntryHuge", [](I i) { i->records[1].first_entry = kHuge; }, kCorrupt, kPlace,
     "zero then some"},
    {"BlockCount", [](I i) { i->records[1].entry_count++; }, kCorrupt, kPlace, "zero then some"},
    {"BlockCountHuge", [](I i) { i->records[1].entry_count = kHuge; }, kCorrupt, kPlace,
     "zero then some"},
    {"NameLeftOut",
     [](I i) {
       i->records.resize(1);
       i->index.resize(1);
       i->sums.resize(2);
       i->data.resize(2 * kPartAlignment);
       i->tail_at = i->data.size();
       i->names.clear();
       i->records[0].name_length = 0;
       i->Relayout();
     },
     kCorrupt, kName},
    {"NameOf256Bytes",
     [](I i) {
       i->names.replace(0, i->records[0].name_length, std::string(256, 'n'));
       const uint32_t longer = 256 - i->records[0].name_length;
       i->records[0].name_length = 256;
       i->records[1].name_offset += longer;
       i->records[2].name_offset += longer;
       i->Relayout();
     },
     kCorrupt, kName},
    {"NameEmpty", [](I i) { i->records[0].name_length = 0; }, kCorrupt, kName},
    {"NameTooLong", [](I i) { i->records[0].name_length = kMaxNameLength + 1; }, kCorrupt, kName},
    {"NameHuge", [](I i) { i->records[0].name_length = 0xffffffff; }, kCorrupt, kName},
    {"NameElsewhere", [](I i) { i->records[1].name_offset = 0; }, kCorrupt, kName},
    {"NameBehindTheNames", [](I i) { i->records[2].name_length++; }, kCorrupt, kName},
    {"NamesLeftOver",
     [](I i) {
       i->records[2].name_length--;
       i->names[i->names.size() - 2] = 'e';
     },
     kCorrupt, "names without a section"},
    {"NameTwice",
     [](I i) {
       i->names = "samesame\xc3\xa9";
       i->records[0].name_length = i->records[1].name_length = i->records[1].name_offset = 4;
       i->records[2].name_offset = 8;
       i->Relayout();
     },
     kCorrupt, "same name", "same"},
    {"NameWithNul", [](I i) { i->names[0] = '\0'; }, kCorrupt, "not UTF-8"},
    {"NameNotUtf8", [](I i) { i->names[0] = '\xff'; }, kCorrupt, "not UTF-8"},
    {"NameCutInACharacter", [](I i) { i->names[i->names.size() - 1] = 'x'; }, kCorrupt,
     "not UTF-8"},
};

const Rule kIndexRules[] = {
    {"OtherSection", [](I i) { i->index[0].section = 1; }, kCorrupt, kEntry, "first"},
    {"SectionHuge", [](I i) { i->index[0].section = 0xffffffff; }, kCorrupt, kEntry, "first"},
    {"OtherBlock", [](I i) { i->index[2].block = 0; }, kCorrupt, kEntry, "zero then some"},
    {"EntriesSwapped", [](I i) { std::swap(i->index[0], i->index[3]); }, kCorrupt, kEntry, "first"},
    {"OffsetInTheHeader", [](I i) { i->index[0].file_offset = 0; }, kCorrupt, kEntry, "first"},
    {"OffsetOfAnotherBlock", [](I i) { i->index[0].file_offset = i->index[3].file_offset; },
     kCorrupt, kEntry, "first"},
    {"OffsetHuge", [](I i) { i->index[0].file_offset = kHuge; }, kCorrupt, kEntry, "first"},
    {"PresentBeyondTheBlock", [](I i) { i->index[0].present |= uint64_t{1} << 2; }, kCorrupt,
     kEntry, "first"},
    {"PresentBeyondTheBlockHighest", [](I i) { i->index[0].present |= uint64_t{1} << 63; },
     kCorrupt, kEntry, "first"},
    {"AZeroPageCalledPresent",
     [](I i) {
       memset(&i->data[i->index[0].file_offset], 0, kPageSize);
       i->SealBlock(0);
     },
     kCorrupt, "zero pages that do not match the index", "first"},
    {"APageCalledZero",
     [](I i) {
       i->index[0].present = 2;
       i->index[0].zero = 1;
       i->SealBlock(0);
       i->sums.erase(i->sums.begin());
       i->Relayout();
     },
     kCorrupt, "zero pages that do not match the index", "first"},
    {"APageOfWhichNothingIsSaid", [](I i) { i->index[0].present = 2; }, kCorrupt, kEntry, "first"},
    {"APageOfWhichTwoThingsAreSaid", [](I i) { i->index[0].zero = 1; }, kCorrupt, kEntry, "first"},
    {"ZeroBeyondTheBlock", [](I i) { i->index[0].zero = uint64_t{1} << 63; }, kCorrupt, kEntry,
     "first"},
    {"AStoredBlockCalledZero",
     [](I i) {
       auto& entry = i->index[0];
       entry.zero = entry.present;
       entry.present = entry.checksum = entry.file_offset = entry.stored_length = 0;
       i->sums.erase(i->sums.begin(), i->sums.begin() + 2);
       i->Relayout();
     },
     kCorrupt, "must be zero", "first"},
    {"OffsetWithoutPages", [](I i) { i->index[1].file_offset = i->records[1].data_offset; },
     kCorrupt, kEntry, "zero then some"},
    {"LengthWithoutPages", [](I i) { i->index[1].stored_length = kBlockSize; }, kCorrupt, kEntry,
     "zero then some"},
    {"ChecksumWithoutPages", [](I i) { i->index[1].checksum = 1; }, kCorrupt, kEntry,
     "zero then some"},
    {"WrongChecksum", [](I i) { i->index[0].checksum++; }, kCorrupt, "does not match its checksum",
     "first"},
    {"StoredLengthShort", [](I i) { i->index[0].stored_length = kPageSize; }, kCorrupt, kEntry,
     "first"},
    {"StoredLengthLong", [](I i) { i->index[0].stored_length = kBlockSize; }, kCorrupt, kEntry,
     "first"},
    {"StoredLengthHuge", [](I i) { i->index[0].stored_length = 0xffffffff; }, kCorrupt, kEntry,
     "first"},
    {"Zstd", [](I i) { i->index[0].codec = Codec::kZstd; }, kCorrupt, kEntry, "first"},
    {"UnknownCodec", [](I i) { i->index[0].codec = static_cast<Codec>(9); }, kCorrupt, kEntry,
     "first"},
    {"Reserved", [](I i) { i->index[0].reserved = 1; }, kCorrupt, kEntry, "first"},
};

const Rule kMetadataRules[] = {
    {"NotUtf8", [](I i) { i->metadata[3] = '\xff'; }, kCorrupt, "metadata is not UTF-8"},
    {"WithNul", [](I i) { i->metadata[3] = '\0'; }, kCorrupt, "metadata is not UTF-8"},
};

std::string RuleName(const ::testing::TestParamInfo<Rule>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Header, ImageRule, ::testing::ValuesIn(kHeaderRules), RuleName);
INSTANTIATE_TEST_SUITE_P(Trailer, ImageRule, ::testing::ValuesIn(kTrailerRules), RuleName);
INSTANTIATE_TEST_SUITE_P(Section, ImageRule, ::testing::ValuesIn(kSectionRules), RuleName);
INSTANTIATE_TEST_SUITE_P(Index, ImageRule, ::testing::ValuesIn(kIndexRules), RuleName);
INSTANTIATE_TEST_SUITE_P(Metadata, ImageRule, ::testing::ValuesIn(kMetadataRules), RuleName);

TEST(ImageVersions, AMinorAdditionIsIgnored) {
  EditableImage image(SampleFile());
  image.header.version_minor = 99;
  image.header.reserved = 0xffffffff;
  image.header_rest[100] = std::byte{1};
  image.trailer_rest[100] = std::byte{1};
  image.records[1].reserved[2] = kHuge;
  MemoryFile file;
  image.Store(file.fd());
  const std::optional<Failure> found = Examine(file.path());
  EXPECT_FALSE(found.has_value()) << found->message;
}

TEST(ImageVersions, ANewerFileIsCalledNewerWhateverElseIsNewInIt) {
  EditableImage image(SampleFile());
  image.header.version_major = 2;
  image.header.header_length = 65536;
  image.header.page_size = 16384;
  image.header.layout = static_cast<Layout>(5);
  memset(image.trailer.magic, 'x', sizeof image.trailer.magic);
  MemoryFile file;
  image.Store(file.fd());
  EXPECT_EQ(Examine(file.path())->code, FailureCode::kVersion);
  // But only if its header is intact: a damaged header is reported as damaged.
  const std::byte wrong{0x55};
  WriteAt(file.fd(), &wrong, 1, 20);
  EXPECT_EQ(Examine(file.path())->code, FailureCode::kCorrupt);
}

// Files that consist mostly of holes and claim to be as large as files can be.
class SparseBomb : public ::testing::Test {
 protected:
  // Makes a file of matching length with one section of `byte_length` bytes. Its index is a hole
  // from `entries` on.
  void Make(uint64_t byte_length, uint64_t entries) {
    EditableImage image(SampleFile());
    image.data.resize(kPartAlignment);
    image.records.resize(1);
    image.names = "bomb";
    image.records[0] = {};
    image.records[0].byte_length = byte_length;
    image.records[0].data_offset = kPartAlignment;
    image.records[0].entry_count = BlockCount(byte_length);
    image.records[0].name_length = 4;
    image.metadata.clear();
    image.index.clear();
    image.sums.clear();
    image.trailer.state = {0, 0};
    for (uint32_t block = 0; block < entries; block++) {
      BlockEntry entry{};
      entry.block = block;
      entry.zero = PagesOfBlock(byte_length, block);
      image.index.push_back(entry);
    }
    image.tail_at = kPartAlignment + RoundUp(byte_length, kPartAlignment);
    image.Relayout();
    if (entries == image.records[0].entry_count) {
      image.Store(file_.fd());
      return;
    }
    // The index continues as a hole, and the other parts follow it.
    const Bytes index(reinterpret_cast<std::byte*>(image.index.data()),
                      reinterpret_cast<std::byte*>(image.index.data() + entries));
    image.index.clear();
    const uint64_t index_at = image.tail_at;
    image.tail_at += image.records[0].entry_count * sizeof(BlockEntry);
    image.Relayout();
    image.trailer.index_offset = index_at;
    image.trailer.index_count = image.records[0].entry_count;
    image.Store(file_.fd());
    if (!index.empty()) WriteAt(file_.fd(), index.data(), index.size(), index_at);
  }
  MemoryFile file_;
};

TEST_F(SparseBomb, AnIndexThatIsAHoleIsRefusedBeforeMemoryIsTaken) {
  // 20 GiB of index, and 5 MiB of index of which only the first MiB is present.
  for (const auto& [length, entries] :
       {std::pair(kMaxSectionLength, uint64_t{0}), std::pair(kMaxSectionLength, uint64_t{5}),
        std::pair(uint64_t{1} << 35, uint64_t{30'000})}) {
    Make(length, entries);
    const std::optional<Failure> found = Examine(file_.path());
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->code, FailureCode::kCorrupt) << found->message;
    EXPECT_NE(found->message.find("hole"), std::string::npos) << found->message;
  }
}

TEST_F(SparseBomb, AnIndexThatIsAHoleIsRefusedWhereHolesCannotBeFound) {
  Make(uint64_t{1} << 35, 30'000);
  const FaultScope faults;
  FaultScope::Fail("lseek", 1, EINVAL, true);
  const std::optional<Failure> found = Examine(file_.path());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->code, FailureCode::kCorrupt);
  EXPECT_NE(found->message.find("entry of block 30000 "), std::string::npos) << found->message;
}

TEST_F(SparseBomb, ALargeSectionOfZerosIsNoBomb) {
  // 32 GiB of holes with a complete index: a valid file, read in no time.
  constexpr uint64_t kLength = (uint64_t{1} << 35) - 5;
  Make(kLength, BlockCount(kLength));
  const std::optional<Failure> found = Examine(file_.path());
  EXPECT_FALSE(found.has_value()) << found->message;
}

TEST_F(SparseBomb, ALongHoleBehindAHeaderIsRefused) {
  const Bytes sample = SampleFile();
  WriteAt(file_.fd(), sample.data(), kPageSize, 0);
  for (const uint64_t length :
       {uint64_t{1} << 50, (uint64_t{1} << 62), (uint64_t{1} << 63) - kPageSize}) {
    ASSERT_EQ(ftruncate(file_.fd(), static_cast<off_t>(length)), 0) << length;
    const std::optional<Failure> found = Examine(file_.path());
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->code, FailureCode::kCorrupt);
    EXPECT_NE(found->message.find("no trailer"), std::string::npos) << found->message;
  }
}

TEST_F(SparseBomb, AFileOfNothingButAHoleIsNoSnapshot) {
  ASSERT_EQ(ftruncate(file_.fd(), off_t{1} << 50), 0);
  EXPECT_EQ(Examine(file_.path())->code, FailureCode::kFormat);
}

TEST(ImageBombs, ThousandsOfSectionsThatAreAsLargeAsCanBe) {
  EditableImage image(SampleFile());
  image.records.clear();
  image.names.clear();
  for (uint32_t i = 0; i < kMaxSections; i++) {
    SectionRecord record{};
    record.byte_length = kMaxSectionLength;
    record.name_offset = static_cast<uint32_t>(image.names.size());
    const std::string name = std::to_string(i);
    record.name_length = static_cast<uint32_t>(name.size());
    image.names += name;
    image.records.push_back(record);
  }
  image.Relayout();
  MemoryFile file;
  image.Store(file.fd());
  const std::optional<Failure> found = Examine(file.path());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->code, FailureCode::kCorrupt);
}

TEST(ImageBombs, NoDescriptorIsLeftOpen) {
  const auto lowest_free = [] { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)).get(); };
  EditableImage image(SampleFile());
  image.index[0].reserved = 1;
  MemoryFile file;
  image.Store(file.fd());
  const int before = lowest_free();
  for (int i = 0; i < 10; i++) EXPECT_TRUE(Examine(file.path()).has_value());
  EXPECT_EQ(lowest_free(), before);
}

}  // namespace
}  // namespace stillframe::test
