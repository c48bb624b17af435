// Puts huge pages together again that a capture has taken apart.
//
// The first write to a huge page during a capture leaves it mapped in small ones, whichever engine it is, and
// khugepaged takes its time. Until then each later freeze takes many times as long, and the service pays for it
// with TLB misses. MADV_COLLAPSE (Linux 6.1) does it at once: a huge page is copied in some hundred microseconds.
//
// It also does so where the system has huge pages switched off, and where little of the 2 MiB was ever touched. Neither is
// for us: only what is there in small pages from end to end becomes a huge one, so that it takes no memory.
#pragma once

#include <memory>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// Whether the system gives no huge pages, on request neither.
bool HugePagesOff();

// In a thread of its own with the lowest priority, which ends by itself; does not keep a region from being
// closed. Does nothing for regions that asked for no huge pages, or that such a thread is at work on.
void CollapseInBackground(std::vector<std::shared_ptr<RegionMemory>> regions);

}  // namespace stillframe
