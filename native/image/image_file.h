// An image that is open: its parts, and the way to its blocks. What is here has been checked (image/image_opener.h); the
// bytes of the pages are checked by whoever reads them: ReadBlocks(), or ImageSweep for much at once.
#pragma once

#include <functional>
#include <memory>
#include <span>
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
  // What it holds is not all: the rest is in the file that it builds on.
  bool is_delta() const { return IsDelta(header_); }
  // All of the index.
  const BlockEntry* entries() const { return reinterpret_cast<const BlockEntry*>(index_.data()); }
  // Of a block; where a delta has none, an entry without any page.
  const BlockEntry& EntryOf(const Section& section, uint64_t block) const;
  // Those of blocks [first, first + count).
  std::span<const BlockEntry> EntriesOf(const Section& section, uint64_t first,
                                        uint64_t count) const;
  // Where the sums of the entry's pages begin, in sums.
  uint64_t FirstSumOf(const BlockEntry& entry) const;
  // Whether sections can be mapped, from source().fd(). Of a delta nothing can; of base() perhaps.
  bool mappable() const { return layout_->mappable() && source_->fd() >= 0; }
  const std::string& metadata() const { return metadata_; }  // JSON, empty: none
  uint64_t file_length() const { return trailer_.file_length; }
  uint64_t allocated_bytes() const { return source_->allocated_bytes(); }

  // The file that this delta builds on, which is the recorded one: from now on what is not here is read there.
  // `path` is where it lies, for messages.
  void BuildOn(std::unique_ptr<ImageFile> parent, std::string path);
  const ImageFile* parent() const { return parent_.get(); }
  // The full file at the end of the chain; this one if it is full.
  const ImageFile& base() const { return parent_ ? parent_->base() : *this; }
  // The section of this name in the parent; null: it has none.
  const Section* InParent(uint32_t section) const;
  // The file of this chain that has this id, 16 bytes; null: none has it.
  const ImageFile* FrameOf(const uint8_t* id) const;
  // The section of this name in a frame of this chain, which all files in between have too; null: it has none.
  const Section* InFrame(const ImageFile& frame, uint32_t section) const;
  // The pages of a block that are not as in that frame, by what the newer files say.
  uint64_t PagesAbove(const ImageFile& frame, uint32_t section, uint64_t block) const;
  // That each block is in this file, or in the parent if there is one.
  Status CheckCover() const;

  // What one thread needs that reads blocks of this file.
  Result<Scratch> MakeScratch() const;

  // Reads whole blocks [first, first + count) of one chunk of a section, padded with zeros to whole pages, to `out`,
  // which is not in `scratch` unless it is scratch->chunk(). With kChecksums nothing is in `out` on success but what
  // was written; on failure its content is undefined. What a delta has not comes from its parent; without one (BuildOn) it
  // is zero.
  Status ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out, Check check,
                    Scratch* scratch) const;
  // The same for some pages of each block; the others hold anything afterwards.
  Status ReadPages(uint32_t section, uint64_t first, uint64_t count, const uint64_t* wanted,
                   std::byte* out, Check check, Scratch* scratch) const;
  // What is in this file alone; the rest is zero.
  Status ReadOwnBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                       Check check, Scratch* scratch) const;
  // That the sums in the file are those of the pages, as ReadOwnBlocks() has read them.
  Status CheckOwnSums(uint32_t section, uint64_t first, uint64_t count,
                      const std::byte* bytes) const;
  // The sums of all pages of the blocks of one chunk, kPagesPerBlock for each, by the files' own words.
  Status ReadSumsOfChunk(uint32_t section, uint64_t first, uint64_t count, PageSum* out) const;
  // That the sums of this file match their checksum; all of them are read.
  Status CheckSums() const;
  // The checksum of all memory, by the files' own words.
  Result<PageSum> StateOfSums(const ReadControl& control) const;
  // The files are sound, and their sum is not the memory.
  Failure WrongState() const;
  // Whether the index says so of these blocks.
  bool AllZero(uint32_t section, uint64_t first, uint64_t count) const;
  // Whether this file alone has no page of these blocks.
  bool HoldsNothing(uint32_t section, uint64_t first, uint64_t count) const;
  // The bytes around the blocks of a chunk that must be zero: its blocks of zeros in a flat file, the padding behind it
  // in a packed one, and with a section's last chunk the gap behind the section.
  Status CheckGapsOfChunk(uint32_t section, uint64_t first, uint64_t count, Scratch* scratch) const;
  // Those that belong to no chunk: behind the header, before the tail.
  Status CheckOuterGaps(Scratch* scratch) const;

  // Checks every byte that Open() has not, here and in the parents: pages, holes, gaps, sums; and that they add up to the
  // memory that was frozen. Problems come in the order of files, sections and positions; after max_problems it stops. A
  // failure is one of reading, or a cancellation.
  Result<std::vector<ImageProblem>> Verify(size_t max_problems, ReadControl* control) const;

  // Hands out a section in pieces of at most one chunk, one after the other, each to `deliver` after its check.
  // deliver gets the offset in the section and the bytes, without the padding; what it returns ends the
  // reading unless it is a success.
  using Deliver = std::function<Status(uint64_t offset, const std::byte* bytes, uint64_t length)>;
  Status ReadSection(uint32_t section, Check check, const Deliver& deliver,
                     ReadControl* control) const;

 private:
  friend class ImageOpener;
  static constexpr uint32_t kNowhere = UINT32_MAX;
  ImageFile() = default;
  Status Named(Status status) const;
  uint64_t sums_offset() const {
    return trailer_.index_offset + trailer_.index_count * sizeof(BlockEntry);
  }
  // Sums [first, first + count) of the file, without a check.
  Status ReadSums(uint64_t first, uint64_t count, PageSum* out) const;
  // Those of the pages that these entries, one behind the other in the index, have in the file.
  Result<std::vector<PageSum>> SumsOf(std::span<const BlockEntry> entries) const;
  Status ReadFromParent(uint32_t section, uint64_t first, uint64_t count, const uint64_t* wanted,
                        std::byte* out, Check check, Scratch* scratch) const;

  std::unique_ptr<ByteSource> source_;
  const BlockLayout* layout_ = nullptr;
  FileHeader header_{};
  FileTrailer trailer_{};
  std::vector<Section> sections_;
  std::string metadata_;
  Mapping index_;
  std::unique_ptr<ImageFile> parent_;
  std::string path_;                  // of a parent
  std::vector<uint32_t> in_parent_;   // by section: the number of the one of its name; kNowhere
  std::vector<uint64_t> first_sums_;  // of every kBlocksPerChunk-th entry
};

}  // namespace stillframe
