// Reading an image file. Nothing in the file is believed: every field is either computed again and compared,
// or bounded before it is used, and nothing is allocated for a size that the file does not really hold.
//
// Open() checks header, trailer, section table and the whole index. The bytes of the pages are checked by
// whoever reads them (ReadBlocks) or by Verify().
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "image/format.h"

namespace stillframe {

// Shared between one reading thread and those who wait for it.
struct ReadControl {
  std::atomic<bool> cancelled{false};
  std::atomic<uint64_t> bytes_done{0};
  std::atomic<uint64_t> bytes_total{0};
};

struct ImageProblem {
  uint64_t offset = 0;
  std::string section;  // empty: outside of all sections
  std::string reason;
};

class ImageFile {
 public:
  struct Section {
    std::string name;
    uint64_t byte_length = 0;
    uint64_t data_offset = 0;
    uint64_t first_entry = 0;
    uint64_t block_count = 0;
    uint64_t stored_bytes = 0;  // of blocks that are not all zero
  };
  enum class Check : uint8_t { kNone, kChecksums };

  static Result<ImageFile> Open(const std::string& path);

  const FileHeader& header() const { return header_; }
  const std::vector<Section>& sections() const { return sections_; }
  const std::string& metadata() const { return metadata_; }  // JSON, empty: none
  uint64_t file_length() const { return trailer_.file_length; }
  uint64_t allocated_bytes() const { return allocated_bytes_; }
  int fd() const { return file_.get(); }

  // Reads whole blocks [first, first + count) of a section, padded with zeros to whole pages, to `out`.
  // With kChecksums nothing is in `out` on success but what was written; on failure its content is undefined.
  Status ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                    Check check) const;

  // Checks every byte that Open() has not: pages, holes, gaps. Problems come in the order of the file; after
  // max_problems it stops. A failure is one of reading, or a cancellation.
  Result<std::vector<ImageProblem>> Verify(size_t max_problems, ReadControl* control) const;

  // Fills memory with a section, in pieces of at most one chunk, each handed to `deliver` after its check.
  // deliver gets the offset in the section and the bytes, without the padding; what it returns ends the
  // reading unless it is a success.
  using Deliver = std::function<Status(uint64_t offset, const std::byte* bytes, uint64_t length)>;
  Status ReadSection(uint32_t section, Check check, const Deliver& deliver,
                     ReadControl* control) const;
  // The same, straight into memory of at least the section's length. Bytes behind it are left alone.
  Status FillMemory(uint32_t section, std::byte* memory, Check check, ReadControl* control) const;

 private:
  ImageFile() = default;
  Status ReadHeader();
  Status ReadTrailer();
  Status ReadSections();
  Status ReadIndex();
  Status CheckEntry(const BlockEntry& entry, uint32_t section, uint64_t block) const;
  Status ReadExactly(std::byte* out, uint64_t length, uint64_t offset,
                     const std::string& section) const;
  // One block that is not a hole, read to `bytes`: checksum, pages and padding are as a writer makes them.
  Status CheckBlock(uint32_t section, uint64_t block, std::byte* bytes) const;
  // Success when the file has only zeros there. `section` is for the message.
  Status CheckZeros(uint64_t offset, uint64_t length, const std::string& section,
                    std::vector<std::byte>* scratch) const;
  const BlockEntry* EntriesOf(const Section& section) const {
    return reinterpret_cast<const BlockEntry*>(index_.data()) + section.first_entry;
  }

  UniqueFd file_;
  uint64_t allocated_bytes_ = 0;
  uint64_t actual_length_ = 0;
  FileHeader header_{};
  FileTrailer trailer_{};
  std::vector<Section> sections_;
  std::string metadata_;
  Mapping index_;
};

}  // namespace stillframe
