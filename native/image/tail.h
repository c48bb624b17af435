// Header and tail of an image file: everything in it that is not pages.
// Written after all blocks are.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "image/byte_sink.h"
#include "image/format.h"
#include "image/image_layout.h"

namespace stillframe {

// Writes header and tail, aligned as O_DIRECT wants it; the tail at `tail_offset`, a multiple of the part alignment.
// Returns the length of the file.
Result<uint64_t> WriteHeaderAndTail(ByteSink* sink, const ImageDescription& image,
                                    const ImageLayout& layout, const BlockEntry* index,
                                    uint64_t tail_offset);

}  // namespace stillframe
