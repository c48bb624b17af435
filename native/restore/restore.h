// One restore: sections of an open file become regions, or fill existing memory.
//
// With plan.verify, all of the file is checked before a byte of it is handed out. The exception is
// a remote file that fills existing memory: there each chunk is checked just before it is filled.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "image/image_file.h"
#include "restore/restore_plan.h"

namespace stillframe {

struct RestoredRegion {
  std::string section;
  std::shared_ptr<RegionMemory> memory;  // null if the section went into existing memory
};

struct RestoredFile {
  std::vector<RestoredRegion> regions;  // in the order of the file
  bool mapped = false;                  // the regions are mappings of the file
};

// Works on the calling thread and on helper threads that end before it returns. After a failure,
// the contents of destinations are undefined, unless the failure was found before they were filled.
Result<RestoredFile> Restore(const ImageFile& image, const RestorePlan& plan, ReadControl* control);

}  // namespace stillframe
