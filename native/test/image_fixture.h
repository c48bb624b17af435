// Shared by the tests of the image file: a temporary directory, frozen pages in plain memory, a
// small image made by the writer itself, and an editor that changes the fields of an image and then
// repairs every checksum.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "image/checksum.h"
#include "image/format.h"
#include "image/image_file.h"
#include "image/page_presence.h"
#include "image/page_source.h"
#include "image/page_sums.h"
#include "image/tail.h"

namespace stillframe::test {

using Bytes = std::vector<std::byte>;

// A directory of its own below $TMPDIR or /tmp, removed with all its contents.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  // Names of everything in the directory, in alphabetical order.
  std::vector<std::string> List() const;

 private:
  std::string path_;
};

// Removes all faults at the end of the scope, so that a failing test leaves none for the next.
class FaultScope {
 public:
  FaultScope() = default;
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;
  ~FaultScope() { sys::ClearFaults(); }
  static void Fail(const char* call, uint32_t nth, int error_number, bool forever = false);
  // Counts the calls without making any of them fail.
  static void Count(const char* call) { Fail(call, 0, 0); }
};

// A nameless file in memory; its path can be opened any number of times.
class MemoryFile {
 public:
  MemoryFile();
  int fd() const { return fd_.get(); }
  std::string path() const;

 private:
  UniqueFd fd_;
};

// Input and output of whole files. On an error they fail the test.
Bytes ReadAll(int fd);
Bytes ReadAll(const std::string& path);
void WriteAt(int fd, const void* bytes, size_t length, uint64_t offset);
void WriteFile(const std::string& path, const std::string& text);

struct SampleSection {
  std::string name;
  Bytes bytes;
};

// Frozen pages in ordinary memory.
class MemoryPages final : public PageSource {
 public:
  explicit MemoryPages(const std::vector<SampleSection>& sections) : sections_(sections) {}
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                  CopiedPage* pages) override;
  void Release(uint32_t section, uint64_t offset, size_t length) override;

  uint64_t released_bytes() const { return released_bytes_; }

 private:
  const std::vector<SampleSection>& sections_;
  std::atomic<uint64_t> released_bytes_ = 0;
};

// Bytes without two equal pages and without a zero.
Bytes Pattern(size_t length, uint32_t seed);

inline constexpr std::array<uint8_t, 16> kSampleId = {1, 2,  3,  4,  5,  6,  7,  8,
                                                      9, 10, 11, 12, 13, 14, 15, 16};

// Writes a whole image with the saver and the tail writer. Returns the length of the file.
uint64_t WriteImage(int fd, const std::vector<SampleSection>& sections, const std::string& metadata,
                    Layout kind = Layout::kFlat);

// Three sections: two pages of which the second is partial; a block of zeros followed by a partial
// page; a single byte. With metadata. All kinds of gaps occur in this image.
std::vector<SampleSection> SampleSections();
// For a packed file. Its entries: 0 and 1 belong to "text", which is compressible and has a zero
// page in each block; 2 to "noise", two incompressible pages of which the second is partial; 3 is a
// block of zeros; 4 a partial page that is compressible.
std::vector<SampleSection> PackedSampleSections();
inline constexpr char kSampleMetadata[] = R"({"epoch":7,"who":"fixture \u00e9"})";

// The checksum that the entry of these stored bytes should have. In the header for the fuzzer,
// which is not linked with the fixtures.
inline uint64_t ChecksumOfStored(const BlockEntry& entry, const std::byte* stored) {
  if (entry.codec != Codec::kNone) return Checksum(stored, entry.stored_length);
  // The pages of a packed file are dense; if all of them are there, so are those of a flat one.
  const bool dense = entry.stored_length == DenseLength(entry.present);
  const auto count = static_cast<uint64_t>(std::popcount(entry.present));
  return ChecksumOfPages(stored, dense ? FirstPages(count) : entry.present);
}

// Fills memory with one section, by hand.
Status FillMemory(const ImageFile& image, uint32_t section, std::byte* memory,
                  ImageFile::Check check, ReadControl* control);

// The parts of an image as structs. After a change, Store() computes every checksum again, so that
// only the rule under test can object.
struct EditableImage {
  explicit EditableImage(const Bytes& file);

  // Makes the trailer describe the members: counts, lengths, and offsets of a well-formed file.
  void Relayout();
  // Replaces the content of the file. actual_length 0: the length in the trailer or, if that is
  // absurd, the length of the parts. Repairs the checksums of the header, the trailer and the tail;
  // those in the index stay.
  void Store(int fd, uint64_t actual_length = 0);
  // Computes the checksum of a block again from `data`.
  void SealBlock(size_t entry);

  FileHeader header;
  FileTrailer trailer;
  std::vector<BlockEntry> index;
  std::vector<PageSum> sums;
  std::vector<SectionRecord> records;
  std::string names;
  std::string metadata;
  Bytes data;  // from the start of the file; the header replaces its first page
  // Where Store() puts index, records, names and metadata: after `data` or a hole.
  uint64_t tail_at;
  Bytes header_rest = Bytes(kPageSize - sizeof(FileHeader));
  Bytes trailer_rest = Bytes(kPageSize - sizeof(FileTrailer));
};

}  // namespace stillframe::test
