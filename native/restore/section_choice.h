// Which sections of a file a restore takes, and whether there is room for them: all that can be said before a byte of
// them is read.
#pragma once

#include <cstdint>
#include <vector>

#include "image/image_file.h"
#include "restore/restore_plan.h"

namespace stillframe {

// By index, in the order of the file.
Result<std::vector<uint32_t>> ChooseSections(const ImageFile& image, const RestorePlan& plan);

}  // namespace stillframe
