// Whether the bytes of a block are as a writer makes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "image/image_file.h"

namespace stillframe {

Failure Damaged(const ImageFile& image, uint32_t section, uint64_t block, const char* how);
// That its pages of zeros are those of the index, and that nothing lies behind the end of its section.
Status CheckPages(const ImageFile& image, uint32_t section, uint64_t block, const std::byte* bytes);

}  // namespace stillframe
