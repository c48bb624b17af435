// An open image: its parts, and access to its blocks. Everything in this object has been checked
// (image/image_opener.h). The bytes of pages are checked when they are read, by ReadBlocks() or,
// for large amounts, by ImageSweep.
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
  std::string section;  // empty outside of all sections
  std::string reason;
};

class ImageFile {
 public:
  using Section = ImageSection;
  using Check = ReadCheck;
  using Scratch = ReadScratch;

  // Fails with kOutOfRange if the file exceeds the limits.
  static Result<ImageFile> Open(const std::string& path, const ReadLimits& limits = {});
  static Result<ImageFile> Open(std::unique_ptr<ByteSource> source, const ReadLimits& limits = {});

  const FileHeader& header() const { return header_; }
  const std::vector<Section>& sections() const { return sections_; }
  const FileTrailer& trailer() const { return trailer_; }
  const BlockLayout& layout() const { return *layout_; }
  const ByteSource& source() const { return *source_; }
  // True if the file holds only some of the pages, and the rest is in the file that it builds on.
  bool is_delta() const { return IsDelta(header_); }
  // The whole index.
  const BlockEntry* entries() const { return reinterpret_cast<const BlockEntry*>(index_.data()); }
  // Entry of a block, or an entry without pages if a delta does not list the block.
  const BlockEntry& EntryOf(const Section& section, uint64_t block) const;
  // Entries of blocks [first, first + count).
  std::span<const BlockEntry> EntriesOf(const Section& section, uint64_t first,
                                        uint64_t count) const;
  // Number of the first sum of the entry's pages among all sums of the file.
  uint64_t FirstSumOf(const BlockEntry& entry) const;
  // True if sections can be mapped from source().fd(). A delta cannot be mapped, but
  // its base() may be.
  bool mappable() const { return layout_->mappable() && source_->fd() >= 0; }
  const std::string& metadata() const { return metadata_; }  // JSON; empty if there is none
  uint64_t file_length() const { return trailer_.file_length; }
  uint64_t allocated_bytes() const { return source_->allocated_bytes(); }

  // Sets the file that this delta builds on, which must be the recorded one. From now on, pages
  // that are not in this file are read from it. `path` is its path, for messages.
  void BuildOn(std::unique_ptr<ImageFile> parent, std::string path);
  const ImageFile* parent() const { return parent_.get(); }
  // The full file at the end of the chain: this file itself if it is a full one.
  const ImageFile& base() const { return parent_ ? parent_->base() : *this; }
  // The section of the same name in the parent; null if there is none.
  const Section* InParent(uint32_t section) const;
  // The file of this chain with this 16-byte id; null if there is none.
  const ImageFile* FrameOf(const uint8_t* id) const;
  // The section of the same name in a frame of this chain, provided that all files in between
  // have it too; otherwise null.
  const Section* InFrame(const ImageFile& frame, uint32_t section) const;
  // The pages of a block that are not as in that frame, according to the files newer than it.
  uint64_t PagesAbove(const ImageFile& frame, uint32_t section, uint64_t block) const;
  // Checks that each page is in this file or, if it has a parent, in the parent.
  Status CheckCover() const;

  // Working memory for one thread that reads blocks of this file.
  Result<Scratch> MakeScratch() const;

  // Reads the blocks [first, first + count) of one chunk of a section to `out`, padded with zeros
  // to whole pages. `out` must not be part of `scratch`, except that it may be scratch->chunk().
  // With kChecksums, success means that `out` holds exactly what was written. After a failure the
  // content of `out` is undefined. Pages that a delta does not have come from its parent; without a
  // parent (BuildOn()) they are zero.
  Status ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out, Check check,
                    Scratch* scratch) const;
  // Like ReadBlocks(), but reads only the pages `wanted` of each block. The content of the other
  // pages is undefined afterwards.
  Status ReadPages(uint32_t section, uint64_t first, uint64_t count, const uint64_t* wanted,
                   std::byte* out, Check check, Scratch* scratch) const;
  // Reads only the pages that are in this file; all others are zero.
  Status ReadOwnBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                       Check check, Scratch* scratch) const;
  // Checks that the sums in this file match the pages as ReadOwnBlocks() has read them.
  Status CheckOwnSums(uint32_t section, uint64_t first, uint64_t count,
                      const std::byte* bytes) const;
  // Reads the sums of all pages of the blocks of one chunk as the files record them,
  // kPagesPerBlock for each block.
  Status ReadSumsOfChunk(uint32_t section, uint64_t first, uint64_t count, PageSum* out) const;
  // Checks that the sums of this file match their checksum, for which it reads all of them.
  Status CheckSums() const;
  // The checksum of all memory, computed from the sums that the files record.
  Result<PageSum> StateOfSums(const ReadControl& control) const;
  // The failure for sound files that do not add up to the memory that was frozen.
  Failure WrongState() const;
  // True if these blocks are all zero according to the index and those of the parents.
  bool AllZero(uint32_t section, uint64_t first, uint64_t count) const;
  // True if this file by itself stores no page of these blocks.
  bool HoldsNothing(uint32_t section, uint64_t first, uint64_t count) const;
  // Checks the bytes around the blocks of a chunk that must be zero. In a flat file these are its
  // zero blocks and, with the last chunk of a section, the gap after the section; in a packed file,
  // the padding after the chunk.
  Status CheckGapsOfChunk(uint32_t section, uint64_t first, uint64_t count, Scratch* scratch) const;
  // Checks the gaps that belong to no chunk: after the header and before the tail.
  Status CheckOuterGaps(Scratch* scratch) const;

  // Checks every byte that Open() has not checked, in this file and in its parents: pages, holes,
  // gaps and sums. Also checks that the files add up to the memory that was frozen. Problems are in
  // the order of files, sections and positions, and the check stops after max_problems. It fails
  // only if reading fails or is cancelled.
  Result<std::vector<ImageProblem>> Verify(size_t max_problems, ReadControl* control) const;

  // Reads a section in order, in pieces of at most one chunk, and passes each piece to `deliver`
  // after it has been checked. `deliver` gets the offset in the section and the bytes without
  // padding. A failure that it returns ends the reading.
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
  // Reads the sums [first, first + count) of the file without checking them.
  Status ReadSums(uint64_t first, uint64_t count, PageSum* out) const;
  // Sums of the pages that these entries have in the file. The entries are adjacent in the index.
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
  std::string path_;                  // set in a parent
  std::vector<uint32_t> in_parent_;   // for each section, its number in the parent, or kNowhere
  std::vector<uint64_t> first_sums_;  // FirstSumOf() of every kBlocksPerChunk-th entry
};

}  // namespace stillframe
