// Reads the pages of a region that maps a file before anybody asks for them.
//
// A mapped restore is ready at once; each page is read when it is first touched, by a thread that
// then waits for the disk. A caller that will need all of it can have it read in the background
// instead.
#pragma once

#include <memory>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// Works in a thread of its own with a low priority, region by region. The thread ends by itself; it
// ends early when a region is closed or nobody else has it any more, and when the file turns out to
// be shorter than the region.
void PrefetchInBackground(std::vector<std::shared_ptr<RegionMemory>> regions);

}  // namespace stillframe
