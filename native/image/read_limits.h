// Limits on what a reader accepts from one file. The file determines how much it demands of the
// process that reads it, and the limits say how much the process is willing to give. The defaults
// accept every file that a writer of this library can make.
#pragma once

#include <cstdint>

#include "image/format.h"

namespace stillframe {

struct ReadLimits {
  uint64_t sections = kMaxSections;
  uint64_t metadata_bytes = kMaxMetadataLength;
  uint64_t metadata_values = kMaxMetadataValues;
  uint64_t metadata_depth = kMaxMetadataDepth;
};

}  // namespace stillframe
