// An image that is open: its parts, and the way to its blocks. What is here has been checked (image/image_opener.h); the
// bytes of the pages are checked by whoever reads them: ReadBlocks(), or ImageSweep for much at once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "image/block_layout.h"
#include "image/byte_source.h"
#include "image/format.h"
#include "image/image_section.h"
#include "image/read_control.h"
#include "image/read_limits.h"
#include "image/read_scratch.h"

namespace stillframe {

struct ImageProblem {
  uint64_t offset = 0;
  std::string section;  // empty: outside of all sections
  std::string reason;
};

class ImageFile {
 public:
  using Section = ImageSection;
  using Check = ReadCheck;
  using Scratch = ReadScratch;

  // kOutOfRange when the file asks for more than the limits allow.
  static Result<ImageFile> Open(const std::string& path, const ReadLimits& limits = {});
  static Result<ImageFile> Open(std::unique_ptr<ByteSource> source, const ReadLimits& limits = {});

  const FileHeader& header() const { return header_; }
  const std::vector<Section>& sections() const { return sections_; }
  const FileTrailer& trailer() const { return trailer_; }
  const BlockLayout& layout() const { return *layout_; }
  const ByteSource& source() const { return *source_; }
  // Of all blocks, and of those of a section.
  const BlockEntry* entries() const { return reinterpret_cast<const BlockEntry*>(index_.data()); }
  const BlockEntry* EntriesOf(const Section& section) const {
    return entries() + section.first_entry;
  }
  // Whether sections can be mapped, from source().fd().
  bool mappable() const { return layout_->mappable() && source_->fd() >= 0; }
  const std::string& metadata() const { return metadata_; }  // JSON, empty: none
  uint64_t file_length() const { return trailer_.file_length; }
  uint64_t allocated_bytes() const { return source_->allocated_bytes(); }

  // What one thread needs that reads blocks of this file.
  Result<Scratch> MakeScratch() const;

  // Reads whole blocks [first, first + count) of one chunk of a section, padded with zeros to whole pages, to `out`,
  // which is not in `scratch` unless it is scratch->chunk(). With kChecksums nothing is in `out` on success but what
  // was written; on failure its content is undefined.
  Status ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out, Check check,
                    Scratch* scratch) const;
  // Whether the index says so of these blocks.
  bool AllZero(uint32_t section, uint64_t first, uint64_t count) const;
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
  friend class ImageOpener;
  ImageFile() = default;

  std::unique_ptr<ByteSource> source_;
  const BlockLayout* layout_ = nullptr;
  FileHeader header_{};
  FileTrailer trailer_{};
  std::vector<Section> sections_;
  std::string metadata_;
  Mapping index_;
};

}  // namespace stillframe
