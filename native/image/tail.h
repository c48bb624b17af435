// The header and the tail of an image file: everything except the pages. They are
// written after all blocks.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "image/byte_sink.h"
#include "image/format.h"
#include "image/image_layout.h"

namespace stillframe {

// Results of the savers: entries and sums of all blocks of the layout.
struct SavedBlocks {
  const BlockEntry* index = nullptr;
  const PageSum* sums = nullptr;  // kPagesPerBlock for each entry
};

// Writes header and tail, aligned as O_DIRECT requires. The tail starts at `tail_offset`, a
// multiple of the part alignment. For a delta (image.parent) only blocks with a change are listed.
// Returns the length of the file.
Result<uint64_t> WriteHeaderAndTail(ByteSink* sink, const ImageDescription& image,
                                    const ImageLayout& layout, const SavedBlocks& saved,
                                    uint64_t tail_offset);

}  // namespace stillframe
