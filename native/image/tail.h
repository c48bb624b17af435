// Header and tail of an image file: everything in it that is not pages.
// Written after all blocks are.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "image/byte_sink.h"
#include "image/format.h"
#include "image/image_layout.h"

namespace stillframe {

// What the savers have found: entries and sums of all blocks of the layout.
struct SavedBlocks {
  const BlockEntry* index = nullptr;
  const PageSum* sums = nullptr;  // kPagesPerBlock for each entry
};

// Writes header and tail, aligned as O_DIRECT wants it; the tail at `tail_offset`, a multiple of the part alignment. Of a
// delta (image.parent) only the blocks in which something has changed are listed. Returns the length of the file.
Result<uint64_t> WriteHeaderAndTail(ByteSink* sink, const ImageDescription& image,
                                    const ImageLayout& layout, const SavedBlocks& saved,
                                    uint64_t tail_offset);

}  // namespace stillframe
