#include "child/child.h"

#include <linux/futex.h>
#include <time.h>

#include "base/sys.h"

namespace stillframe {
namespace {

bool Interrupted(const void* context) {
  return Abandoned(*static_cast<const HardeningPlan*>(context));
}

// An additional saver: a thread that only the kernel knows of.
struct Helper {
  const SavePlan* plan;
  uint32_t number;
  SaveEnd end;
};

int RunHelper(void* argument) {
  auto* helper = static_cast<Helper*>(argument);
  helper->end = SaveChunks(*helper->plan, helper->number);
  ControlHeader* control = helper->plan->control;
  control->helpers.fetch_sub(1, std::memory_order_release);
  sys::Futex(&control->helpers, FUTEX_WAKE, 1, nullptr);
  return 0;
}

SaveEnd SaveWithHelpers(const SavePlan& plan) {
  Helper helpers[kMaxSavers];
  uint32_t started = 0;
  while (started + 1 < plan.saver_count) {
    Helper& helper = helpers[started];
    helper = {&plan, started + 1, SaveEnd::kFailed};
    plan.control->helpers.fetch_add(1, std::memory_order_relaxed);
    const int thread =
        sys::StartBareThread(RunHelper, &helper, plan.buffers[started + 1].stack_end);
    if (thread < 0) {
      // Fewer savers do the job, too.
      plan.control->helpers.fetch_sub(1, std::memory_order_relaxed);
      break;
    }
    started++;
  }
  SaveEnd end = SaveChunks(plan, 0);
  for (;;) {
    const uint32_t left = plan.control->helpers.load(std::memory_order_acquire);
    if (left == 0) break;
    const timespec patience{0, 100'000'000};
    sys::Futex(&plan.control->helpers, FUTEX_WAIT, left, &patience);
  }
  for (uint32_t i = 0; i < started; i++) end = WorseEnd(end, helpers[i].end);
  return end;
}

}  // namespace

void RunChild(const ChildPlan& plan) {
  HardenChild(plan.hardening);
  SavePlan save = plan.save;
  save.interrupted = Interrupted;
  save.interrupted_context = &plan.hardening;
  switch (SaveWithHelpers(save)) {
    case SaveEnd::kComplete:
      plan.save.control->step.store(SaveStep::kFinished, std::memory_order_relaxed);
      sys::ExitGroup(kChildComplete);
    case SaveEnd::kAborted:
      sys::ExitGroup(kChildAborted);
    case SaveEnd::kInterrupted:
      sys::ExitGroup(kChildParentGone);
    case SaveEnd::kFailed:
      sys::ExitGroup(kChildFailed);
  }
  sys::ExitGroup(kChildFailed);
}

}  // namespace stillframe
