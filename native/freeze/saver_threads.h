// Runs the savers of one plan as threads of this process, and describes how they ended.
#pragma once

#include "base/result.h"
#include "image/saver.h"

namespace stillframe {

// The calling thread is the first of the plan's savers; the others end before this returns. If
// threads cannot be started, fewer savers do the work.
SaveEnd SaveWithThreads(const SavePlan& plan);
// Success if everything is saved. `aborted` is the message for an abort.
Status DescribeEnd(SaveEnd end, const ControlHeader* control, const char* aborted);

}  // namespace stillframe
