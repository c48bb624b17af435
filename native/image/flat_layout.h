// Each block has the same place in the file as in its section, and zero blocks are holes. The
// layout leaves no choice: every part has exactly one place where a writer puts it.
#pragma once

#include "image/block_layout.h"

namespace stillframe {

class FlatLayout final : public BlockLayout {
 public:
  const char* name() const override { return "flat"; }
  bool mappable() const override { return true; }
  bool gaps_by_block() const override { return true; }
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
