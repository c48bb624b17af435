// Checks the bytes of a block against its index entry.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "image/image_file.h"

namespace stillframe {

Failure Damaged(const ImageFile& image, uint32_t section, uint64_t block, const char* how);
// Checks that the zero pages of the block are those that the index lists, and that all bytes after
// the end of the section are zero.
Status CheckPages(const ImageFile& image, uint32_t section, uint64_t block, const std::byte* bytes);

}  // namespace stillframe
