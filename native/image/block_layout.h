// How the blocks of a file lie in it: what differs between a flat and a packed one for those who read. A new layout is a
// class beside FlatLayout and PackedLayout, and a line in Of().
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
  static const BlockLayout* Of(Layout layout);  // null: of a later version

  virtual const char* name() const = 0;
  // Sections lie in the file as they do in memory.
  virtual bool mappable() const = 0;
  // The gaps of a chunk may be asked about block by block.
  virtual bool gaps_by_block() const = 0;

  // Rules for the opener. data_end: of the ImageLayout.
  virtual bool TailFits(uint64_t index_offset, uint64_t data_end) const = 0;
  // Whether a writer would make this entry of a block that is here, as far as it can be said of one by itself.
  virtual bool EntryHolds(const ImageSection& section, uint64_t block,
                          const BlockEntry& entry) const = 0;
  // And of all together.
  virtual Status CheckPlaces(const ImageFile& image) const = 0;

  // Behind the methods of ImageFile of the same names. With `wanted`, the pages of each block that are asked for, the
  // others hold anything afterwards if the file is a full one, and are left alone if it is a delta.
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
