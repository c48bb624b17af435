// Which pages two frames do not have in common, by the sums of their pages: no page is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/image_file.h"
#include "image/read_control.h"

namespace stillframe {

struct SectionDifference {
  std::string name;
  uint64_t byte_lengths[2] = {};  // 0 in a frame that does not have it
  bool there[2] = {};
  uint64_t changed_pages = 0;
  // Over the longer one of both, in as many pieces of whole pages as were asked for at most: pages of each that differ.
  uint64_t pages_per_piece = 0;
  std::vector<uint64_t> pieces;
};

// Sections are the same if their names are, and in the order of `to`, with those that it lacks behind. A page that one of
// them does not have differs unless the other one's is zero.
Result<std::vector<SectionDifference>> CompareFrames(const ImageFile& from, const ImageFile& to,
                                                     uint64_t pieces, ReadControl* control);

}  // namespace stillframe
