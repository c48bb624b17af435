// The savers of one plan as threads of this process, and how they ended in words.
#pragma once

#include "base/result.h"
#include "image/saver.h"

namespace stillframe {

// The calling thread is the first of the plan's savers; the others end before this returns. Fewer do it too.
SaveEnd SaveWithThreads(const SavePlan& plan);
// Success if all is saved. An abort is the caller's to name.
Status DescribeEnd(SaveEnd end, const ControlHeader* control, const char* aborted);

}  // namespace stillframe
