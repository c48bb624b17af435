// Reassembles huge pages that a capture has split.
//
// With every engine, the first write to a huge page during a capture leaves it mapped in small
// pages, and khugepaged takes its time to collapse them. Until then each later freeze takes many
// times as long, and the service pays with TLB misses. MADV_COLLAPSE (Linux 6.1) collapses them at
// once: copying a huge page takes some hundred microseconds.
//
// MADV_COLLAPSE would also make huge pages where the system has them switched off, and where only
// little of the 2 MiB was ever touched. Neither is wanted here: 2 MiB are collapsed only if they
// are present in small pages from end to end, so that the huge page takes no additional memory.
#pragma once

#include <memory>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// True if the system provides no huge pages, even on request.
bool HugePagesOff();

// Works on a detached thread with the lowest priority, which does not prevent a region from being
// closed. Skips regions for which no huge pages were requested, and regions that such a thread is
// already working on.
void CollapseInBackground(std::vector<std::shared_ptr<RegionMemory>> regions);

}  // namespace stillframe
