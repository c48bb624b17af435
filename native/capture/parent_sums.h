// What a delta is compared with: the sums of all pages of the frame that it builds on.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/image_layout.h"
#include "memory/region.h"

namespace stillframe {

struct ParentRequest {
  std::string path;                           // of the parent
  std::optional<std::array<uint8_t, 16>> id;  // that it has to have
  std::vector<std::string> places;            // of what it builds on; empty: beside it
  std::string target_path;  // of the delta: it may not take the place of a file that it builds on
  const ImageDescription* image = nullptr;
  const ImageLayout* layout = nullptr;
  PageSum* sums = nullptr;  // of all blocks of the layout: filled
  // Called again and again; true ends the reading.
  std::function<bool()> cancelled;
  // By section, where it is a mapping of a section of some frame; and for each block the pages that the parent has as they
  // are there, filled if that frame is the parent or one that it builds on.
  std::vector<std::optional<MappedSection>> mapped_from;
  uint64_t* as_mapped = nullptr;
};

// The id that the file has now, if it is a snapshot at all. ReadParentSums() finds out the rest.
std::optional<std::array<uint8_t, 16>> IdOfFile(const std::string& path);

// Sections are the same if their names are. Of pages that the parent does not have the sum is kUnknownPage. Returns what
// the delta has to write down. kParent when the parent, or one of those that it builds on, is missing or cannot be read.
Result<ParentMark> ReadParentSums(const ParentRequest& request);

}  // namespace stillframe
