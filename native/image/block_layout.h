// How blocks are arranged in a file: everything in which flat and packed files differ for a reader.
// To add a layout, write a class like FlatLayout and PackedLayout and add it to Of().
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "image/format.h"
#include "image/image_section.h"

namespace stillframe {

class ImageFile;
class ReadScratch;

class BlockLayout {
 public:
  static const BlockLayout* Of(Layout layout);  // null for a layout of a later version

  virtual const char* name() const = 0;
  // True if sections are arranged in the file as they are in memory.
  virtual bool mappable() const = 0;
  // True if CheckGapsOfChunk() may also be called for single blocks of a chunk.
  virtual bool gaps_by_block() const = 0;

  // Rules that ImageOpener applies. data_end is that of the ImageLayout.
  virtual bool TailFits(uint64_t index_offset, uint64_t data_end) const = 0;
  // True if a writer would make this entry for a block that is in this file, as far as
  // a single entry can tell.
  virtual bool EntryHolds(const ImageSection& section, uint64_t block,
                          const BlockEntry& entry) const = 0;
  // Checks the places of all blocks together.
  virtual Status CheckPlaces(const ImageFile& image) const = 0;

  // These implement the ImageFile methods of the same names. If `wanted` is not null, it holds the
  // wanted pages of each block. The other pages are undefined afterwards if the file is a full one,
  // and left untouched if it is a delta.
  virtual Status ReadBlocks(const ImageFile& image, uint32_t section, uint64_t first,
                            uint64_t count, const uint64_t* wanted, std::byte* out, ReadCheck check,
                            ReadScratch* scratch) const = 0;
  virtual Status CheckGapsOfChunk(const ImageFile& image, uint32_t section, uint64_t first,
                                  uint64_t count, ReadScratch* scratch) const = 0;
  virtual Status CheckOuterGaps(const ImageFile& image, ReadScratch* scratch) const = 0;

 protected:
  ~BlockLayout() = default;
};

}  // namespace stillframe
