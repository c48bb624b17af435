#include "test/image_fixture.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "image/checksum.h"
#include "image/control_block.h"
#include "image/file_sink.h"
#include "image/image_sweep.h"
#include "image/read_failure.h"
#include "image/saver.h"

namespace stillframe::test {

TemporaryDirectory::TemporaryDirectory() {
  const char* base = getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/stillframe-test-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) abort();
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryDirectory::List() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void FaultScope::Fail(const char* call, uint32_t nth, int error_number, bool forever) {
  ASSERT_TRUE(sys::InjectFault(call, nth, error_number, forever)) << call;
}

MemoryFile::MemoryFile() : fd_(memfd_create("stillframe-test", MFD_CLOEXEC)) {
  if (!fd_.valid()) abort();
}

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }

Bytes ReadAll(int fd) {
  struct stat about {};
  EXPECT_EQ(fstat(fd, &about), 0);
  Bytes bytes(static_cast<size_t>(about.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got <= 0) {
      ADD_FAILURE() << "pread: " << strerror(errno);
      break;
    }
    done += static_cast<size_t>(got);
  }
  return bytes;
}

Bytes ReadAll(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(fd.valid()) << path;
  return fd.valid() ? ReadAll(fd.get()) : Bytes();
}

void WriteAt(int fd, const void* bytes, size_t length, uint64_t offset) {
  ASSERT_EQ(pwrite(fd, bytes, length, static_cast<off_t>(offset)), static_cast<ssize_t>(length))
      << strerror(errno) << " at " << offset;
}

void WriteFile(const std::string& path, const std::string& text) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd.valid()) << path;
  if (!text.empty()) WriteAt(fd.get(), text.data(), text.size(), 0);
}

void MemoryPages::CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                             CopiedPage* pages) {
  const Bytes& bytes = sections_.at(section).bytes;
  ASSERT_LE(offset + length, bytes.size()) << "the saver reads behind the section";
  CopyPages(bytes.data() + offset, length, out, pages);
}

void MemoryPages::Release(uint32_t section, uint64_t offset, size_t length) {
  ASSERT_LE(offset + length, sections_.at(section).bytes.size());
  released_bytes_ += length;
}

Bytes Pattern(size_t length, uint32_t seed) {
  Bytes bytes(length);
  uint32_t state = seed * 2654435761U + 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>((state >> 24) | 1U);
  }
  return bytes;
}

uint64_t WriteImage(int fd, const std::vector<SampleSection>& sections, const std::string& metadata,
                    Layout kind) {
  ImageDescription image;
  image.id = kSampleId;
  image.frozen_at_ns = 1'700'000'000'123'456'789;
  image.metadata = metadata;
  for (const SampleSection& section : sections) {
    image.sections.push_back({section.name, section.bytes.size()});
  }
  const ImageLayout layout = PlanLayout(image.sections, kind);
  const bool packed = kind == Layout::kPacked;
  const Encoding encoding{kind, packed ? Codec::kZstd : Codec::kNone, 1};
  Result<ControlBlock> control = ControlBlock::Create(layout.block_count, {1, encoding});
  EXPECT_TRUE(control.ok());
  MemoryPages pages(sections);
  SavePlan plan{};
  plan.encoding = encoding;
  plan.sections = layout.sections.data();
  plan.section_count = static_cast<uint32_t>(layout.sections.size());
  plan.chunk_count = layout.chunk_count;
  plan.pages = &pages;
  plan.control = control.value().header();
  plan.index = control.value().index();
  plan.sums = control.value().sums();
  plan.buffers = control.value().buffers();
  FileSink sink(fd);
  plan.sink = &sink;
  plan.control->file_tail = kPartAlignment;
  EXPECT_EQ(SaveChunks(plan), SaveEnd::kComplete);
  const uint64_t tail_offset =
      packed ? RoundUp(plan.control->file_tail.load(), kPartAlignment) : layout.data_end;
  Result<uint64_t> length =
      WriteHeaderAndTail(&sink, image, layout, {plan.index, plan.sums}, tail_offset);
  EXPECT_TRUE(length.ok());
  return length.ok() ? length.value() : 0;
}

std::vector<SampleSection> SampleSections() {
  std::vector<SampleSection> sections(3);
  sections[0] = {"first", Pattern(kPageSize + 905, 1)};
  sections[1] = {"zero then some", Bytes(kBlockSize)};
  const Bytes rest = Pattern(300, 2);
  sections[1].bytes.insert(sections[1].bytes.end(), rest.begin(), rest.end());
  sections[2] = {"\xc3\xa9", Pattern(1, 3)};
  return sections;
}

std::vector<SampleSection> PackedSampleSections() {
  std::vector<SampleSection> sections(4);
  Bytes text(kBlockSize + 5 * kPageSize);
  for (size_t i = 0; i < text.size(); i++)
    text[i] = static_cast<std::byte>("what shrinks "[i % 13]);
  for (const uint64_t page : {3, 66}) {
    std::fill_n(text.begin() + page * kPageSize, kPageSize, std::byte{0});
  }
  Bytes noise(2 * kPageSize - 3);
  uint64_t state = 88172645463325252U;
  for (std::byte& byte : noise) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<std::byte>(state);
  }
  sections[0] = {"text", std::move(text)};
  sections[1] = {"noise", std::move(noise)};
  sections[2] = {"zeros", Bytes(kBlockSize)};
  sections[3] = {"last", Bytes(300, std::byte{7})};
  return sections;
}

namespace {

template <typename Struct>
Struct ReadStruct(const Bytes& file, uint64_t offset) {
  Struct out{};
  memcpy(&out, file.data() + offset, sizeof out);
  return out;
}

std::string ReadText(const Bytes& file, uint64_t offset, uint64_t length) {
  return std::string(reinterpret_cast<const char*>(file.data()) + offset, length);
}

// A struct and the rest of its page, with the checksum of both.
template <typename Struct>
Bytes SealedPage(Struct* fields, const Bytes& rest) {
  Bytes page(kPageSize);
  fields->checksum = 0;
  memcpy(page.data(), fields, sizeof *fields);
  memcpy(page.data() + sizeof *fields, rest.data(), rest.size());
  fields->checksum = Checksum(page.data(), page.size());
  memcpy(page.data(), fields, sizeof *fields);
  return page;
}

}  // namespace

Status FillMemory(const ImageFile& image, uint32_t section, std::byte* memory,
                  ImageFile::Check check, ReadControl* control) {
  ImageSweep sweep(image);
  sweep.Fill(section, memory, ImageSweep::Way::kByHand);
  Result<std::vector<ImageProblem>> problems =
      sweep.Run(ImageSweep::Extent::kFilled, check, 1, control);
  if (!problems.ok()) return problems.failure();
  if (problems.value().empty()) return Success{};
  const ImageProblem& first = problems.value().front();
  return Corrupt(first.offset, first.section, first.reason);
}

EditableImage::EditableImage(const Bytes& file)
    : header(ReadStruct<FileHeader>(file, 0)),
      trailer(ReadStruct<FileTrailer>(file, file.size() - kPageSize)),
      names(ReadText(file, trailer.sections_offset + trailer.section_count * sizeof(SectionRecord),
                     trailer.names_length)),
      metadata(ReadText(file, trailer.metadata_offset, trailer.metadata_length)),
      data(file.begin(), file.begin() + static_cast<int64_t>(trailer.index_offset)),
      tail_at(trailer.index_offset) {
  for (uint64_t i = 0; i < trailer.index_count; i++) {
    index.push_back(ReadStruct<BlockEntry>(file, trailer.index_offset + i * sizeof(BlockEntry)));
  }
  const uint64_t sums_at = trailer.index_offset + trailer.index_count * sizeof(BlockEntry);
  for (uint64_t i = 0; i < trailer.sum_count; i++) {
    sums.push_back(ReadStruct<PageSum>(file, sums_at + i * sizeof(PageSum)));
  }
  for (uint64_t i = 0; i < trailer.section_count; i++) {
    records.push_back(
        ReadStruct<SectionRecord>(file, trailer.sections_offset + i * sizeof(SectionRecord)));
  }
}

void EditableImage::Relayout() {
  trailer.index_offset = tail_at;
  trailer.index_count = index.size();
  trailer.sum_count = sums.size();
  trailer.sections_offset =
      trailer.index_offset + index.size() * sizeof(BlockEntry) + sums.size() * sizeof(PageSum);
  trailer.section_count = records.size();
  trailer.names_length = names.size();
  trailer.metadata_offset =
      trailer.sections_offset + records.size() * sizeof(SectionRecord) + names.size();
  trailer.metadata_length = metadata.size();
  trailer.file_length =
      RoundUp(trailer.metadata_offset + trailer.metadata_length, kPageSize) + kPageSize;
}

void EditableImage::SealBlock(size_t entry) {
  BlockEntry& block = index.at(entry);
  block.checksum = ChecksumOfStored(block, data.data() + block.file_offset);
}

void EditableImage::Store(int fd, uint64_t actual_length) {
  Bytes tail;
  const auto append = [&](const void* bytes, size_t length) {
    const auto* from = static_cast<const std::byte*>(bytes);
    tail.insert(tail.end(), from, from + length);
  };
  append(index.data(), index.size() * sizeof(BlockEntry));
  trailer.index_checksum = Checksum(tail.data(), tail.size());
  append(sums.data(), sums.size() * sizeof(PageSum));
  trailer.sums_checksum = Checksum(sums.data(), sums.size() * sizeof(PageSum));
  const size_t sections_at = tail.size();
  append(records.data(), records.size() * sizeof(SectionRecord));
  append(names.data(), names.size());
  trailer.sections_checksum = Checksum(tail.data() + sections_at, tail.size() - sections_at);
  append(metadata.data(), metadata.size());
  trailer.metadata_checksum = Checksum(metadata.data(), metadata.size());

  const uint64_t least = RoundUp(tail_at + tail.size(), kPageSize) + kPageSize;
  constexpr uint64_t kLargest = uint64_t{1} << 52;
  if (actual_length == 0) {
    const bool sane = trailer.file_length >= least && trailer.file_length <= kLargest &&
                      trailer.file_length % kPageSize == 0;
    actual_length = sane ? trailer.file_length : least;
  }
  const Bytes first = SealedPage(&header, header_rest);
  const Bytes last = SealedPage(&trailer, trailer_rest);
  ASSERT_EQ(ftruncate(fd, 0), 0);
  ASSERT_EQ(ftruncate(fd, static_cast<off_t>(actual_length)), 0) << strerror(errno);
  WriteAt(fd, data.data() + kPageSize, data.size() - kPageSize, kPageSize);
  if (!tail.empty()) WriteAt(fd, tail.data(), tail.size(), tail_at);
  WriteAt(fd, first.data(), first.size(), 0);
  WriteAt(fd, last.data(), last.size(), actual_length - kPageSize);
}

}  // namespace stillframe::test
