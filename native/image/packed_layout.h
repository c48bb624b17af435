// The stored blocks of a chunk form one piece, encoded. The pieces follow one another in any order.
#pragma once

#include "image/block_layout.h"

namespace stillframe {

class PackedLayout final : public BlockLayout {
 public:
  const char* name() const override { return "packed"; }
  bool mappable() const override { return false; }
  bool gaps_by_block() const override { return false; }
  bool TailFits(uint64_t index_offset, uint64_t data_end) const override;
  bool EntryHolds(const ImageSection& section, uint64_t block,
                  const BlockEntry& entry) const override;
  Status CheckPlaces(const ImageFile& image) const override;
  Status ReadBlocks(const ImageFile& image, uint32_t section, uint64_t first, uint64_t count,
                    const uint64_t* wanted, std::byte* out, ReadCheck check,
                    ReadScratch* scratch) const override;
  Status CheckGapsOfChunk(const ImageFile& image, uint32_t section, uint64_t first, uint64_t count,
                          ReadScratch* scratch) const override;
  Status CheckOuterGaps(const ImageFile& image, ReadScratch* scratch) const override;
};

}  // namespace stillframe
