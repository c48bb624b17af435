// Reads what a delta is compared with: the sums of all pages of its parent.
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
  std::optional<std::array<uint8_t, 16>> id;  // required id of the parent
  std::vector<std::string> places;            // of the parent's parents; empty: next to it
  std::string target_path;  // of the delta, which must not replace a file that it builds on
  const ImageDescription* image = nullptr;
  const ImageLayout* layout = nullptr;
  PageSum* sums = nullptr;  // output: the sums of all blocks of the layout
  // Called repeatedly; returning true stops the reading.
  std::function<bool()> cancelled;
  // For each section: the section of a frame that the source is a mapping of, if any. If that frame
  // is the parent or one that the parent builds on, as_mapped is filled: for each block, the pages
  // that are the same in the parent as in that frame.
  std::vector<std::optional<MappedSection>> mapped_from;
  uint64_t* as_mapped = nullptr;
};

// The current id of the file; nullopt if it is not a snapshot. Everything else is checked by
// ReadParentSums().
std::optional<std::array<uint8_t, 16>> IdOfFile(const std::string& path);

// Sections are matched by name. The sum of a page that the parent does not have is kUnknownPage.
// Returns the mark of the parent to be recorded in the delta. Fails with kParent if the parent, or
// a file that it builds on, is missing or cannot be read.
Result<ParentMark> ReadParentSums(const ParentRequest& request);

}  // namespace stillframe
