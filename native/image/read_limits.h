// What a reader takes from one file at most. The file decides how much it asks of the process that reads it: these are
// what the process is ready to give. By default as much as any file of a writer of ours holds.
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
