#include "freeze/saver_threads.h"

#include <string>

#include "base/thread.h"
#include "image/control_block.h"

namespace stillframe {

SaveEnd SaveWithThreads(const SavePlan& plan) {
  struct Helper {
    Thread thread;
    SaveEnd end = SaveEnd::kComplete;
  };
  Helper helpers[kMaxSavers];
  for (uint32_t number = 1; number < plan.saver_count; number++) {
    Helper& helper = helpers[number];
    const Status started = helper.thread.Start(
        "stillframe-save", [&plan, &helper, number] { helper.end = SaveChunks(plan, number); });
    if (!started.ok()) break;
  }
  SaveEnd end = SaveChunks(plan);
  for (Helper& helper : helpers) {
    helper.thread.Join();
    end = WorseEnd(end, helper.end);
  }
  return end;
}

Status DescribeEnd(SaveEnd end, const ControlHeader* control, const char* aborted) {
  switch (end) {
    case SaveEnd::kComplete:
      return Success{};
    case SaveEnd::kFailed: {
      const SaveStep step = control->error_step.load(std::memory_order_relaxed);
      return SystemFailure(step == SaveStep::kWriting ? "pwrite" : "",
                           control->error_number.load(std::memory_order_acquire),
                           std::string("failed while ") + SaveStepName(step));
    }
    default:
      return Fail(FailureCode::kAborted, aborted);
  }
}

}  // namespace stillframe
