// Chooses the sections that a restore takes, and checks that there is room for them. All of this
// happens before a byte of the sections is read.
#pragma once

#include <cstdint>
#include <vector>

#include "image/image_file.h"
#include "restore/restore_plan.h"

namespace stillframe {

// Indices in the order of the file.
Result<std::vector<uint32_t>> ChooseSections(const ImageFile& image, const RestorePlan& plan);

}  // namespace stillframe
