// The reader returns what the writer was given, and says clearly when a file is not a snapshot.
// Proved by writing images of many shapes and reading them in every way there is.
#include "image/image_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "image/control_block.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

Bytes Section(const ImageFile& image, uint32_t section, ImageFile::Check check) {
  Bytes bytes;
  ReadControl control;
  const Status read = image.ReadSection(
      section, check,
      [&](uint64_t offset, const std::byte* piece, uint64_t length) -> Status {
        EXPECT_EQ(offset, bytes.size());
        EXPECT_LE(length, kChunkSize);
        bytes.insert(bytes.end(), piece, piece + length);
        return Success{};
      },
      &control);
  EXPECT_TRUE(read.ok());
  EXPECT_EQ(control.bytes_done.load(), bytes.size());
  return bytes;
}

void ExpectFaithful(const std::vector<SampleSection>& sections, const std::string& metadata) {
  MemoryFile file;
  const uint64_t length = WriteImage(file.fd(), sections, metadata);
  Result<ImageFile> opened = ImageFile::Open(file.path());
  ASSERT_TRUE(opened.ok()) << opened.failure().message;
  const ImageFile& image = opened.value();
  EXPECT_EQ(image.file_length(), length);
  EXPECT_EQ(image.metadata(), metadata);
  EXPECT_EQ(memcmp(image.header().id, kSampleId.data(), kSampleId.size()), 0);
  EXPECT_EQ(image.header().frozen_at_ns, 1'700'000'000'123'456'789);
  ASSERT_EQ(image.sections().size(), sections.size());

  ReadControl control;
  Result<std::vector<ImageProblem>> problems = image.Verify(10, &control);
  ASSERT_TRUE(problems.ok());
  for (const ImageProblem& problem : problems.value()) {
    ADD_FAILURE() << problem.section << " at " << problem.offset << ": " << problem.reason;
  }
  EXPECT_EQ(control.bytes_done.load(), control.bytes_total.load());

  for (uint32_t i = 0; i < sections.size(); i++) {
    const Bytes& expected = sections[i].bytes;
    EXPECT_EQ(image.sections()[i].name, sections[i].name);
    EXPECT_EQ(image.sections()[i].byte_length, expected.size());
    for (const auto check : {ImageFile::Check::kNone, ImageFile::Check::kChecksums}) {
      EXPECT_TRUE(Section(image, i, check) == expected) << sections[i].name;
      // A canary follows the section: memory beyond the section must not be written.
      Bytes memory(expected.size() + 64, std::byte{0xcc});
      ReadControl filling;
      EXPECT_TRUE(FillMemory(image, i, memory.data(), check, &filling).ok());
      EXPECT_EQ(filling.bytes_done.load(), expected.size());
      const Bytes canary(memory.begin() + static_cast<int64_t>(expected.size()), memory.end());
      memory.resize(expected.size());
      EXPECT_TRUE(memory == expected) << sections[i].name;
      EXPECT_TRUE(canary == Bytes(64, std::byte{0xcc}));
    }
  }
}

TEST(ImageFile, GivesBackWhatWasWritten) {
  ExpectFaithful(SampleSections(), kSampleMetadata);
  ExpectFaithful({{"empty", {}}}, "");
  ExpectFaithful({{"a", {}}, {"b", Pattern(1, 1)}, {"c", {}}}, "null");
  ExpectFaithful({{"zeros", Bytes(kChunkSize + 1)}}, "");
  ExpectFaithful({{std::string(kMaxNameLength, 'n'), Pattern(kPageSize - 1, 1)}}, "");
  Bytes mixed = Pattern(2 * kChunkSize + kBlockSize + 123, 5);
  // Holes at the start, in the middle and before the end, also next to a chunk border.
  for (const size_t block : {0, 3, 15, 16, 31, 32}) {
    std::fill_n(mixed.begin() + static_cast<int64_t>(block * kBlockSize), kBlockSize, std::byte{0});
  }
  ExpectFaithful({{"mixed", mixed}, {"more", Pattern(kBlockSize * 3, 6)}}, "[1,2]");
}

TEST(ImageFile, ManySectionsAndMuchMetadata) {
  std::vector<SampleSection> sections;
  sections.reserve(2000);
  for (int i = 0; i < 2000; i++) {
    sections.push_back({"section " + std::to_string(i), Pattern(static_cast<size_t>(i % 3), 1)});
  }
  ExpectFaithful(sections, '"' + std::string(300'000, 'm') + '"');
}

TEST(ImageFile, TheTailMayEndAtAPageBorder) {
  // One section 'x' without blocks: record 64, name 1, and just enough metadata to fill the page,
  // or one byte less or more.
  for (const size_t length : {4096 - 65 - 1, 4096 - 65, 4096 - 65 + 1}) {
    ExpectFaithful({{"x", {}}}, std::string(length, '1'));
  }
}

TEST(ImageFile, ReadsOnThroughInterruptions) {
  MemoryFile file;
  const auto sections = SampleSections();
  WriteImage(file.fd(), sections, kSampleMetadata);
  for (uint32_t nth = 1; nth <= 8; nth++) {
    const FaultScope faults;
    FaultScope::Fail("pread", nth, EINTR);
    Result<ImageFile> image = ImageFile::Open(file.path());
    ASSERT_TRUE(image.ok()) << image.failure().message;
    EXPECT_TRUE(Section(image.value(), 0, ImageFile::Check::kChecksums) == sections[0].bytes);
  }
}

TEST(ImageFile, ReportsEveryReadError) {
  MemoryFile file;
  WriteImage(file.fd(), SampleSections(), kSampleMetadata);
  bool succeeded = false;
  uint32_t failures = 0;
  for (uint32_t nth = 1; nth < 100 && !succeeded; nth++) {
    const FaultScope faults;
    FaultScope::Fail("pread", nth, EIO);
    Result<ImageFile> image = ImageFile::Open(file.path());
    if (!image.ok()) {
      EXPECT_EQ(image.failure().code, FailureCode::kIo);
      EXPECT_EQ(image.failure().error_number, EIO);
      EXPECT_STREQ(image.failure().syscall, "pread");
      failures++;
      continue;
    }
    ReadControl control;
    Result<std::vector<ImageProblem>> problems = image.value().Verify(10, &control);
    succeeded = problems.ok();
    if (succeeded) continue;
    EXPECT_EQ(problems.failure().code, FailureCode::kIo) << "an unreadable disk is no damaged file";
    EXPECT_EQ(problems.failure().error_number, EIO);
    failures++;
  }
  EXPECT_TRUE(succeeded);
  EXPECT_GE(failures, 8U);
}

TEST(ImageFile, AFileThatIsTruncatedMeanwhileIsDamaged) {
  MemoryFile file;
  WriteImage(file.fd(), {{"main", Pattern(3 * kBlockSize, 1)}}, "");
  Result<ImageFile> image = ImageFile::Open(file.path());
  ASSERT_TRUE(image.ok());
  const uint64_t end = kPartAlignment + kBlockSize + 5;
  ASSERT_EQ(ftruncate(file.fd(), static_cast<off_t>(end)), 0);
  Bytes memory(3 * kBlockSize);
  for (const auto check : {ImageFile::Check::kNone, ImageFile::Check::kChecksums}) {
    ReadControl control;
    Status read = FillMemory(image.value(), 0, memory.data(), check, &control);
    ASSERT_FALSE(read.ok()) << "bytes were made up";
    EXPECT_EQ(read.failure().code, FailureCode::kCorrupt);
    EXPECT_EQ(read.failure().offset, static_cast<int64_t>(end));
    EXPECT_EQ(read.failure().section, "main");
  }
}

TEST(ImageFile, OpeningAndExaminingMayFail) {
  MemoryFile file;
  WriteImage(file.fd(), SampleSections(), "");
  for (const char* call : {"openat", "fstat"}) {
    const FaultScope faults;
    FaultScope::Fail(call, 1, EMFILE);
    Result<ImageFile> image = ImageFile::Open(file.path());
    ASSERT_FALSE(image.ok());
    EXPECT_EQ(image.failure().code, FailureCode::kIo);
    EXPECT_EQ(image.failure().error_number, EMFILE);
  }
  const FaultScope faults;
  FaultScope::Fail("mmap", 1, ENOMEM);
  Result<ImageFile> image = ImageFile::Open(file.path());
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.failure().error_number, ENOMEM);
}

TEST(ImageFile, VerifyWorksWhereHolesCannotBeFound) {
  MemoryFile file;
  WriteImage(file.fd(), SampleSections(), kSampleMetadata);
  const FaultScope faults;
  FaultScope::Fail("lseek", 1, EINVAL, true);
  Result<ImageFile> image = ImageFile::Open(file.path());
  ASSERT_TRUE(image.ok()) << image.failure().message;
  ReadControl control;
  EXPECT_TRUE(image.value().Verify(10, &control).value().empty());
  const std::byte one{1};
  WriteAt(file.fd(), &one, 1, kPartAlignment - 1);
  EXPECT_EQ(image.value().Verify(10, &control).value().size(), 1U);
}

TEST(ImageFile, StopsWhenCancelledAndWhenTheReceiverFails) {
  MemoryFile file;
  WriteImage(file.fd(), {{"main", Pattern(3 * kChunkSize, 1)}}, "");
  Result<ImageFile> image = ImageFile::Open(file.path());
  ASSERT_TRUE(image.ok());
  ReadControl cancelled;
  cancelled.cancelled = true;
  EXPECT_EQ(image.value().Verify(1, &cancelled).failure().code, FailureCode::kAborted);
  Bytes memory(3 * kChunkSize);
  Status filled =
      FillMemory(image.value(), 0, memory.data(), ImageFile::Check::kChecksums, &cancelled);
  EXPECT_EQ(filled.failure().code, FailureCode::kAborted);

  ReadControl control;
  int calls = 0;
  const auto cancel_after_one = [&](uint64_t, const std::byte*, uint64_t) -> Status {
    calls++;
    control.cancelled = true;
    return Success{};
  };
  Status read =
      image.value().ReadSection(0, ImageFile::Check::kChecksums, cancel_after_one, &control);
  EXPECT_EQ(read.failure().code, FailureCode::kAborted);
  EXPECT_EQ(calls, 1);

  ReadControl other;
  const auto refuse = [](uint64_t, const std::byte*, uint64_t) -> Status {
    Failure failure;
    failure.code = FailureCode::kClosed;
    return failure;
  };
  read = image.value().ReadSection(0, ImageFile::Check::kNone, refuse, &other);
  EXPECT_EQ(read.failure().code, FailureCode::kClosed);
}

TEST(ImageFile, VerifyStopsAtTheNumberOfProblemsAskedFor) {
  MemoryFile file;
  WriteImage(file.fd(), {{"main", Pattern(8 * kBlockSize, 1)}}, "");
  const std::byte wrong{0xfe};  // all bytes of the pattern are odd
  for (uint64_t block = 0; block < 8; block++) {
    WriteAt(file.fd(), &wrong, 1, kPartAlignment + block * kBlockSize + 1000);
    WriteAt(file.fd(), &wrong, 1, kPageSize + block);
  }
  Result<ImageFile> image = ImageFile::Open(file.path());
  ASSERT_TRUE(image.ok());
  for (const size_t limit : {1, 2, 5, 9, 100}) {
    ReadControl control;
    const auto problems = image.value().Verify(limit, &control).value();
    EXPECT_EQ(problems.size(), std::min<size_t>(limit, 9));
    uint64_t previous = 0;
    for (const ImageProblem& problem : problems) {
      EXPECT_GE(problem.offset, previous) << "not in the order of the file";
      previous = problem.offset;
    }
  }
}

TEST(ImageFile, WhatIsNoSnapshotSaysSo) {
  const TemporaryDirectory directory;
  const auto expect = [&](const std::string& path, FailureCode code, int error_number,
                          const char* words) {
    Result<ImageFile> image = ImageFile::Open(path);
    ASSERT_FALSE(image.ok()) << path;
    EXPECT_EQ(image.failure().code, code) << path << ": " << image.failure().message;
    EXPECT_EQ(image.failure().error_number, error_number) << path;
    EXPECT_NE(image.failure().message.find(words), std::string::npos) << image.failure().message;
  };
  WriteFile(directory.File("empty"), "");
  WriteFile(directory.File("text"), "To whom it may concern\n");
  WriteFile(directory.File("long text"), std::string(100'000, 'x'));
  WriteFile(directory.File("magic"), "\x89SFRAM\r\n");
  ASSERT_EQ(mkfifo(directory.File("fifo").c_str(), 0600), 0);
  const UniqueFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, directory.File("socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);

  expect(directory.File("missing"), FailureCode::kIo, ENOENT, "cannot open");
  expect(directory.path(), FailureCode::kIo, EISDIR, "directory");
  expect(directory.File("empty"), FailureCode::kFormat, 0, "empty");
  expect(directory.File("text"), FailureCode::kFormat, 0, "not a stillframe snapshot");
  expect(directory.File("long text"), FailureCode::kFormat, 0, "not a stillframe snapshot");
  expect(directory.File("magic"), FailureCode::kCorrupt, 0, "truncated");
  expect(directory.File("fifo"), FailureCode::kFormat, 0, "not a regular file");
  expect(directory.File("socket"), FailureCode::kIo, ENXIO, "cannot open");
  expect("/dev/zero", FailureCode::kFormat, 0, "not a regular file");
  expect("/dev/null", FailureCode::kFormat, 0, "not a regular file");
}

TEST(ImageSweep, SeveralReadersFillAllAndFindTheSameDamageFirst) {
  MemoryFile file;
  const std::vector<SampleSection> sections = {{"large", Pattern(40 << 20, 1)},
                                               {"small", Pattern(5000, 2)}};
  WriteImage(file.fd(), sections, "");
  Result<ImageFile> opened = ImageFile::Open(file.path());
  ASSERT_TRUE(opened.ok());
  const ImageFile& image = opened.value();
  for (uint32_t i = 0; i < sections.size(); i++) {
    Bytes memory(sections[i].bytes.size());
    ReadControl control;
    ASSERT_TRUE(FillMemory(image, i, memory.data(), ImageFile::Check::kChecksums, &control).ok());
    EXPECT_TRUE(memory == sections[i].bytes);
  }
  const std::byte other{0};
  for (const uint64_t at : {uint64_t{9} << 20, uint64_t{21} << 20, uint64_t{33} << 20}) {
    WriteAt(file.fd(), &other, 1, kPartAlignment + at + 5);
  }
  for (int round = 0; round < 20; round++) {
    ReadControl control;
    const auto first = image.Verify(1, &control).value();
    ASSERT_EQ(first.size(), 1U);
    EXPECT_EQ(first[0].offset, kPartAlignment + (9 << 20));
    ReadControl again;
    EXPECT_EQ(image.Verify(10, &again).value().size(), 3U);
  }
}

}  // namespace
}  // namespace stillframe::test
