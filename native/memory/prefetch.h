// Reads the pages of a region that maps a file before they are needed.
//
// A mapped restore is ready at once. Each page is read when it is first touched, and the thread
// that touches it waits for the disk. A caller that will need the whole region can have it read in
// the background instead.
#pragma once

#include <memory>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// Works on a detached thread with a low priority, region by region. The thread leaves a region
// early when it is closed or has no other owner, or when the file turns out to be shorter than it.
void PrefetchInBackground(std::vector<std::shared_ptr<RegionMemory>> regions);

}  // namespace stillframe
