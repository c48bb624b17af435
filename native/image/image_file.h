// Reading an image file. Nothing in the file is believed: every field is either computed again and compared,
// or bounded before it is used, and nothing is allocated for a size that the file does not really hold.
//
// Open() checks header, trailer, section table and the whole index. The bytes of the pages are checked by
// whoever reads them: ReadBlocks(), or ImageSweep for much at once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "image/block_codec.h"
#include "image/direct_reader.h"
#include "image/format.h"
#include "image/read_control.h"
#include "image/read_limits.h"

namespace stillframe {

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
  // kChecksums: also that the zero pages are those of the index, and that nothing lies behind the section's end.
  enum class Check : uint8_t { kNone, kChecksums };

  // What one reading thread works in.
  class Scratch {
   public:
    // `image` outlives it.
    static Result<Scratch> Create(const ImageFile& image);
    std::byte* chunk() const { return memory_.data(); }  // one chunk, page-aligned: for the caller

   private:
    friend class ImageFile;
    explicit Scratch(Mapping memory) : memory_(std::move(memory)) {}
    std::byte* stored() const;
    std::byte* dense() const;
    Mapping memory_;
    std::vector<std::byte> zeros_;
    std::unique_ptr<BlockDecompressor> decompressor_;
  };

  // kOutOfRange when the file asks for more than the limits allow.
  static Result<ImageFile> Open(const std::string& path, const ReadLimits& limits = {});

  const FileHeader& header() const { return header_; }
  const std::vector<Section>& sections() const { return sections_; }
  Layout layout() const { return header_.layout; }
  const std::string& metadata() const { return metadata_; }  // JSON, empty: none
  uint64_t file_length() const { return trailer_.file_length; }
  uint64_t allocated_bytes() const { return allocated_bytes_; }
  int fd() const { return file_.get(); }

  // Reads whole blocks [first, first + count) of one chunk of a section, padded with zeros to whole pages, to `out`,
  // which is not in `scratch` unless it is scratch->chunk(). With kChecksums nothing is in `out` on success but what
  // was written; on failure its content is undefined.
  Status ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out, Check check,
                    Scratch* scratch) const;
  // Whether the index says so of these blocks.
  bool AllZero(uint32_t section, uint64_t first, uint64_t count) const {
    const BlockEntry* entries = EntriesOf(sections_[section]) + first;
    for (uint64_t i = 0; i < count; i++) {
      if (entries[i].present != 0) return false;
    }
    return true;
  }
  // The bytes around the blocks of a chunk that must be zero: its blocks of zeros in a flat file, the padding behind it
  // in a packed one, and with a section's last chunk the gap behind the section.
  Status CheckGapsOfChunk(uint32_t section, uint64_t first, uint64_t count, Scratch* scratch) const;
  // Those that belong to no chunk: behind the header, before the tail.
  Status CheckOuterGaps(Scratch* scratch) const;

  // Checks every byte that Open() has not: pages, holes, gaps. Problems come in the order of sections and positions;
  // after max_problems it stops. A failure is one of reading, or a cancellation.
  Result<std::vector<ImageProblem>> Verify(size_t max_problems, ReadControl* control) const;

  // Hands out a section in pieces of at most one chunk, one after the other, each to `deliver` after its check.
  // deliver gets the offset in the section and the bytes, without the padding; what it returns ends the
  // reading unless it is a success.
  using Deliver = std::function<Status(uint64_t offset, const std::byte* bytes, uint64_t length)>;
  Status ReadSection(uint32_t section, Check check, const Deliver& deliver,
                     ReadControl* control) const;

 private:
  ImageFile() = default;
  Status ReadHeader();
  Status ReadTrailer();
  Status ReadSections(const ReadLimits& limits);
  Status ReadMetadata(const ReadLimits& limits);
  Status ReadIndex();
  Status CheckEntry(const BlockEntry& entry, uint32_t section, uint64_t block) const;
  // That the pieces of a packed file follow each other without a gap or an overlap.
  Status CheckPieces() const;
  void PrepareDirectReading();
  bool IsCached(uint64_t offset, uint64_t length) const;
  Status ReadExactly(std::byte* out, uint64_t length, uint64_t offset,
                     const std::string& section) const;
  // Around the page cache where that is faster: for much at once.
  Status ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                  const std::string& section) const;
  Status ReadPackedBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                          Check check, Scratch* scratch) const;
  Status UnpackBlock(uint32_t section, uint64_t block, const std::byte* stored, std::byte* out,
                     Check check, Scratch* scratch) const;
  // Of the bytes of a block: whether its pages are as a writer makes them.
  Status CheckPages(uint32_t section, uint64_t block, const std::byte* bytes) const;
  Failure Damaged(uint32_t section, uint64_t block, const char* how) const;
  // Success when the file has only zeros there. `section` is for the message.
  Status CheckZeros(uint64_t offset, uint64_t length, const std::string& section,
                    Scratch* scratch) const;
  const BlockEntry* EntriesOf(const Section& section) const {
    return reinterpret_cast<const BlockEntry*>(index_.data()) + section.first_entry;
  }

  UniqueFd file_;
  DirectReader direct_;  // the same with O_DIRECT, where that can be had
  Mapping cache_probe_;  // of the file: asked which pages are in the page cache, never touched
  uint64_t allocated_bytes_ = 0;
  uint64_t actual_length_ = 0;
  FileHeader header_{};
  FileTrailer trailer_{};
  std::vector<Section> sections_;
  std::string metadata_;
  Mapping index_;
};

}  // namespace stillframe
