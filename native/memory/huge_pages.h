// Puts huge pages together again that a capture has taken apart.
//
// With every engine, the first write to a huge page during a capture leaves it mapped in small
// ones, and khugepaged takes its time. Until then each later freeze takes many times as long, and
// the service pays for it with TLB misses. MADV_COLLAPSE (Linux 6.1) puts it together at once:
// copying a huge page takes some hundred microseconds.
//
// It would also do so where the system has huge pages switched off, and where little of the 2 MiB
// was ever touched. We want neither: only what is present in small pages from end to end becomes a
// huge page, so that it takes no memory.
#pragma once

#include <memory>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// Whether the system gives no huge pages, even on request.
bool HugePagesOff();

// Works in a thread of its own with the lowest priority, which ends by itself and does not keep a
// region from being closed. It does nothing for regions that asked for no huge pages, or that such
// a thread is already working on.
void CollapseInBackground(std::vector<std::shared_ptr<RegionMemory>> regions);

}  // namespace stillframe
