#include "child/child.h"

#include "base/sys.h"

namespace stillframe {
namespace {

bool Interrupted(const void* context) {
  return ParentGone(*static_cast<const HardeningPlan*>(context));
}

}  // namespace

void RunChild(const ChildPlan& plan) {
  HardenChild(plan.hardening);
  SavePlan save = plan.save;
  save.interrupted = Interrupted;
  save.interrupted_context = &plan.hardening;
  switch (SaveChunks(save)) {
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
