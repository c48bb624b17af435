// Whatever an image file holds, reading it neither crashes nor hangs nor takes memory that the file
// does not justify, and its results are consistent. Proved by a coverage-guided fuzzer (libFuzzer)
// that never has to guess a checksum: the input is not the file but its parts, and their checksums
// are computed here.
//
//   scripts/fuzz.sh [seconds]     builds this with clang, ASan and UBSan, and runs it
//   fuzz_corpus_test.cc           replays the corpus in the unit tests
//
// An input:  flags (1 byte) | FileHeader (96) | FileTrailer (152) | length of the tail (2) | tail | pages
//   flags    bits 0-3: do not repair the checksums of header, trailer, tail, blocks; bit 4: an
//            extra page before the trailer; bit 5: holes cannot be found
//   tail     is stored at trailer.index_offset; the trailer describes its parts
//   pages    are stored in the first part after the header; missing pages are holes
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>

#include "image/checksum.h"
#include "image/image_file.h"
#include "image/image_sweep.h"
#include "test/image_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size);

namespace stillframe {
namespace {

constexpr uint64_t kLargestFile = uint64_t{1} << 50;
// Bytes to read of one section, since a section of holes may be endless.
constexpr uint64_t kMostToRead = uint64_t{16} << 20;

void Require(bool holds) {
  if (!holds) abort();
}

struct Input {
  const uint8_t* at;
  size_t left;
  void Take(void* out, size_t length) {
    const size_t have = std::min(length, left);
    if (length == 0 || have == 0) return;  // missing bytes remain zero
    memcpy(out, at, have);
    at += have;
    left -= have;
  }
};

template <typename Struct>
void StorePage(int fd, Struct* fields, uint64_t offset, bool repair) {
  std::byte page[kPageSize] = {};
  if (repair) {
    fields->checksum = 0;
    memcpy(page, fields, sizeof *fields);
    fields->checksum = Checksum(page, sizeof page);
  }
  memcpy(page, fields, sizeof *fields);
  Require(pwrite(fd, page, sizeof page, static_cast<off_t>(offset)) == sizeof page);
}

// The part of the tail at this place; null if the tail does not contain all of it.
std::byte* Part(test::Bytes* tail, uint64_t offset, uint64_t length) {
  if (offset > tail->size() || length > tail->size() - offset) return nullptr;
  return tail->data() + offset;
}

// Reads a file that opens in every possible way.
void Read(const ImageFile& image) {
  std::set<std::string> names;
  uint64_t entries = 0;
  for (uint32_t i = 0; i < image.sections().size(); i++) {
    const ImageFile::Section& section = image.sections()[i];
    Require(names.insert(section.name).second);
    Require(!section.name.empty() && section.name.size() <= kMaxNameLength);
    Require(section.byte_length <= kMaxSectionLength);
    if (!image.layout().mappable()) {
      Require(section.data_offset == 0);
    } else {
      Require(section.data_offset % kPartAlignment == 0 && section.data_offset >= kPartAlignment);
      Require(section.data_offset + section.byte_length <= image.file_length());
    }
    Require(section.block_count == BlockCount(section.byte_length));
    Require(section.first_entry == entries);
    Require(section.stored_bytes <= RoundUp(section.byte_length, kPageSize));
    entries += section.entry_count;
    Require(image.is_delta() || section.entry_count == section.block_count);
    for (const auto check : {ImageFile::Check::kChecksums, ImageFile::Check::kNone}) {
      ReadControl control;
      uint64_t end = 0;
      const auto deliver = [&](uint64_t offset, const std::byte* bytes, uint64_t length) -> Status {
        Require(offset == end && length > 0 && offset + length <= section.byte_length);
        end += length;
        // Lets the sanitizer notice if one of the bytes is not accessible.
        static volatile uint64_t sink;
        sink = sink + Checksum(bytes, length);
        control.cancelled = end >= kMostToRead;
        return Success{};
      };
      const Status read = image.ReadSection(i, check, deliver, &control);
      if (read.ok()) Require(end == section.byte_length);
    }
    if (section.byte_length <= kMostToRead) {
      test::Bytes memory(section.byte_length);
      ReadControl control;
      ImageSweep sweep(image);
      sweep.Fill(i, memory.data(), ImageSweep::Way::kByHand);
      const auto filled =
          sweep.Run(ImageSweep::Extent::kFilled, ImageFile::Check::kNone, 1, &control);
      (void)filled.ok();
    }
  }
  Require(image.metadata().size() <= kMaxMetadataLength);
}

}  // namespace
}  // namespace stillframe

int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace stillframe;  // NOLINT: one function
  static const int file = memfd_create("stillframe-fuzz", MFD_CLOEXEC);
  Require(file >= 0);
  Input rest{input, size};
  uint8_t flags = 0;
  FileHeader header{};
  FileTrailer trailer{};
  uint16_t tail_length = 0;
  rest.Take(&flags, sizeof flags);
  rest.Take(&header, sizeof header);
  rest.Take(&trailer, sizeof trailer);
  rest.Take(&tail_length, sizeof tail_length);
  test::Bytes tail(std::min<size_t>(tail_length, rest.left));
  rest.Take(tail.data(), tail.size());
  test::Bytes pages(rest.left);
  rest.Take(pages.data(), pages.size());
  const auto repair = [&](int bit) { return (flags & (1 << bit)) == 0; };

  const uint64_t index_length = trailer.index_count * sizeof(BlockEntry);
  const uint64_t sums_length = trailer.sum_count * sizeof(PageSum);
  const uint64_t sections_at = trailer.sections_offset - trailer.index_offset;
  const uint64_t sections_length =
      trailer.section_count * sizeof(SectionRecord) + trailer.names_length;
  const uint64_t metadata_at = trailer.metadata_offset - trailer.index_offset;
  std::byte* index = Part(&tail, 0, index_length);
  if (index != nullptr && repair(3)) {
    for (uint64_t at = 0; at + sizeof(BlockEntry) <= index_length; at += sizeof(BlockEntry)) {
      BlockEntry entry{};
      memcpy(&entry, index + at, sizeof entry);
      test::Bytes block(kBlockSize);
      const uint64_t from = entry.file_offset - kPartAlignment;
      // No writer makes such an entry, so none of its bytes are read.
      if (entry.present == 0 || entry.stored_length > kBlockSize || from >= pages.size()) continue;
      const size_t have = std::min<size_t>(entry.stored_length, pages.size() - from);
      memcpy(block.data(), pages.data() + from, have);
      entry.checksum = test::ChecksumOfStored(entry, block.data());
      memcpy(index + at, &entry, sizeof entry);
    }
  }
  if (repair(2)) {
    if (index != nullptr) trailer.index_checksum = Checksum(index, index_length);
    if (const std::byte* part = Part(&tail, index_length, sums_length)) {
      trailer.sums_checksum = Checksum(part, sums_length);
    }
    if (const std::byte* part = Part(&tail, sections_at, sections_length)) {
      trailer.sections_checksum = Checksum(part, sections_length);
    }
    if (const std::byte* part = Part(&tail, metadata_at, trailer.metadata_length)) {
      trailer.metadata_checksum = Checksum(part, trailer.metadata_length);
    }
  }
  uint64_t tail_at = RoundDown(trailer.index_offset, kPartAlignment);
  if (tail_at < kPartAlignment || tail_at > kLargestFile) tail_at = kPartAlignment;
  uint64_t length =
      RoundUp(tail_at + tail.size(), kPageSize) + ((flags & 16) != 0 ? 2 : 1) * kPageSize;
  // A file may be longer than its content.
  if (trailer.file_length > length && trailer.file_length <= kLargestFile &&
      trailer.file_length % kPageSize == 0) {
    length = trailer.file_length;
  }
  Require(ftruncate(file, 0) == 0 && ftruncate(file, static_cast<off_t>(length)) == 0);
  if (!pages.empty()) Require(pwrite(file, pages.data(), pages.size(), kPartAlignment) >= 0);
  if (!tail.empty())
    Require(pwrite(file, tail.data(), tail.size(), static_cast<off_t>(tail_at)) >= 0);
  StorePage(file, &header, 0, repair(0));
  StorePage(file, &trailer, length - kPageSize, repair(1));
  // Cuts off what pages and tail have added beyond this length.
  Require(ftruncate(file, static_cast<off_t>(length)) == 0);

  if ((flags & 32) != 0) sys::InjectFault("lseek", 1, EINVAL, true);
  Result<ImageFile> image = ImageFile::Open("/proc/self/fd/" + std::to_string(file));
  // A delta is read without its parent, if it does not need one for any block.
  if (image.ok() && image.value().CheckCover().ok()) {
    ReadControl control;
    // If holes cannot be found, all of a section of holes is read, which may take forever.
    uint64_t bytes_in_all = 0;
    for (const auto& section : image.value().sections()) bytes_in_all += section.byte_length;
    if ((flags & 32) == 0 || bytes_in_all <= kMostToRead) {
      Result<std::vector<ImageProblem>> problems = image.value().Verify(3, &control);
      if (problems.ok()) Require(problems.value().size() <= 3);
    }
    Read(image.value());
  }
  sys::ClearFaults();
  return 0;
}
