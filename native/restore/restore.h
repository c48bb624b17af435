// One restore: sections of an open file become regions, or fill memory that exists.
//
// With plan.verify all of the file is checked before a byte of it is handed out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "image/image_file.h"
#include "restore/restore_plan.h"

namespace stillframe {

struct RestoredRegion {
  std::string section;
  std::shared_ptr<RegionMemory> memory;  // null when the section went into existing memory
};

struct RestoredFile {
  std::vector<RestoredRegion> regions;  // in the order of the file
  bool mapped = false;                  // the regions are mappings of the file
};

// Works on the calling thread and on helpers that end before it returns. After a failure destinations hold anything,
// unless it was found before they were filled.
Result<RestoredFile> Restore(const ImageFile& image, const RestorePlan& plan, ReadControl* control);

}  // namespace stillframe
