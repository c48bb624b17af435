// The newer pages over a mapping of a chain's full file. Long runs of them are mapped as well, from
// the files that have them, so that the time of a restore does not grow with what was written
// between the frames.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "image/image_file.h"

namespace stillframe {

// Bytes of the section that a file holds exactly as they are in memory.
struct OverlayRun {
  const ImageFile* file;
  uint64_t offset;       // in the section
  uint64_t file_offset;  // both are multiples of kPageSize
  uint64_t length;
};

struct Overlay {
  std::vector<OverlayRun> runs;
  // By block: the pages, one bit each, that are newer than the full file and in none of the runs.
  std::vector<uint64_t> to_read;
};

// Plans at most `most_runs` runs, the longest ones.
Overlay PlanOverlay(const ImageFile& image, uint32_t section, size_t most_runs);

}  // namespace stillframe
