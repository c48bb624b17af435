// What the tests of the image file share: a directory that is gone afterwards, frozen pages that are
// plain memory, a small image made by the writer itself, and an editor that changes the fields of an
// image and repairs every checksum behind it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "image/format.h"
#include "image/image_file.h"
#include "image/page_source.h"
#include "image/tail.h"

namespace stillframe::test {

using Bytes = std::vector<std::byte>;

// A directory of its own below $TMPDIR or /tmp, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  // Names of everything in it, in alphabetical order.
  std::vector<std::string> List() const;

 private:
  std::string path_;
};

// Removes all faults at the end of the scope, so that a failing test leaves none to the next.
class FaultScope {
 public:
  FaultScope() = default;
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;
  ~FaultScope() { sys::ClearFaults(); }
  static void Fail(const char* call, uint32_t nth, int error_number, bool forever = false);
  // Counts calls without making any fail.
  static void Count(const char* call) { Fail(call, 0, 0); }
};

// A nameless file in memory; its path can be opened as often as wanted.
class MemoryFile {
 public:
  MemoryFile();
  int fd() const { return fd_.get(); }
  std::string path() const;

 private:
  UniqueFd fd_;
};

// Whole-file input and output. They fail the test when they cannot.
Bytes ReadAll(int fd);
Bytes ReadAll(const std::string& path);
void WriteAt(int fd, const void* bytes, size_t length, uint64_t offset);
void WriteFile(const std::string& path, const std::string& text);

struct SampleSection {
  std::string name;
  Bytes bytes;
};

// Frozen pages that lie in ordinary memory.
class MemoryPages final : public PageSource {
 public:
  explicit MemoryPages(const std::vector<SampleSection>& sections) : sections_(sections) {}
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) override;
  void Release(uint32_t section, uint64_t offset, size_t length) override;

  uint64_t released_bytes() const { return released_bytes_; }

 private:
  const std::vector<SampleSection>& sections_;
  std::atomic<uint64_t> released_bytes_ = 0;
};

// Bytes of which no two pages are alike and none is zero.
Bytes Pattern(size_t length, uint32_t seed);

inline constexpr std::array<uint8_t, 16> kSampleId = {1, 2,  3,  4,  5,  6,  7,  8,
                                                      9, 10, 11, 12, 13, 14, 15, 16};

// Writes a whole image with the saver and the tail writer. Returns the length of the file.
uint64_t WriteImage(int fd, const std::vector<SampleSection>& sections, const std::string& metadata,
                    Layout kind = Layout::kFlat);

// Three sections: two pages of which the second is partial; a block of zeros and then one partial
// page; a single byte. With metadata. All kinds of gaps occur in it.
std::vector<SampleSection> SampleSections();
// For a packed file. Entries: 0 and 1 are of "text", which shrinks, and has a zero page in each block; 2 is of "noise",
// two pages that do not shrink, the second partial; 3 a block of zeros; 4 a partial page that shrinks.
std::vector<SampleSection> PackedSampleSections();
inline constexpr char kSampleMetadata[] = R"({"epoch":7,"who":"fixture \u00e9"})";

// Fills memory with one section, by hand.
Status FillMemory(const ImageFile& image, uint32_t section, std::byte* memory,
                  ImageFile::Check check, ReadControl* control);

// The parts of an image as structs. Change them and Store(): every checksum is computed again, so that
// only the rule under test can object.
struct EditableImage {
  explicit EditableImage(const Bytes& file);

  // Makes the trailer describe what the members hold: counts, lengths, offsets of a well-formed file.
  void Relayout();
  // Replaces the content of the file. actual_length 0: what the trailer says, or, when that is absurd, what
  // the parts take. The header's, trailer's and tail's checksums are repaired, those in the index are left.
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
  Bytes data;  // from the start of the file; its first page is replaced by the header
  uint64_t
      tail_at;  // where Store() puts index, records, names and metadata; behind `data` or a hole
  Bytes header_rest = Bytes(kPageSize - sizeof(FileHeader));
  Bytes trailer_rest = Bytes(kPageSize - sizeof(FileTrailer));
};

}  // namespace stillframe::test
