// Compares two frames by the sums of their pages, without reading any page.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/image_file.h"
#include "image/read_control.h"

namespace stillframe {

struct SectionDifference {
  std::string name;
  uint64_t byte_lengths[2] = {};  // 0 in a frame without this section
  bool there[2] = {};
  uint64_t changed_pages = 0;
  // The longer of the two sections is divided into pieces of `pages_per_piece` pages each, at most
  // as many as the caller asked for. `pieces` holds the number of pages of each piece that differ.
  uint64_t pages_per_piece = 0;
  std::vector<uint64_t> pieces;
};

// Sections correspond if they have the same name. The result is in the order of `to`, followed
// by the sections that only `from` has. A page that only one of the frames has counts as
// changed unless it is zero.
Result<std::vector<SectionDifference>> CompareFrames(const ImageFile& from, const ImageFile& to,
                                                     uint64_t pieces, ReadControl* control);

}  // namespace stillframe
