// Reads the pages of a region that maps a file before anybody asks for them.
//
// A mapped restore is ready at once, and each page is read when it is first touched, by a thread that waits for the
// disk. Somebody who will need all of it has it read in the background instead.
#pragma once

#include <memory>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// In a thread of its own with a low priority, region by region. It ends by itself, early when a region is closed or
// nobody else has it any more, and when the file turns out to be shorter than the region.
void PrefetchInBackground(std::vector<std::shared_ptr<RegionMemory>> regions);

}  // namespace stillframe
