// The first steps of every forked child, whatever its purpose. Afterwards no code of the host runs
// in it, and it holds nothing that the host needs. Like this whole unit, it only makes raw system
// calls.
#pragma once

#include "image/control_block.h"

namespace stillframe {

// Exit statuses. Details are in the control block.
inline constexpr int kChildComplete = 0;
inline constexpr int kChildFailed = 1;
inline constexpr int kChildAborted = 2;
inline constexpr int kChildParentGone = 3;

struct HardeningPlan {
  ControlHeader* control;
  int target_fd;         // stays open
  int alive_fd;          // stays open: read end of a pipe that ends with the parent
  bool use_close_range;  // false forces the fallback
  // The child continues after its parent has ended, and publishes its file itself.
  bool outlives_parent = false;
  int directory_fd = -1;  // of the target; stays open if outlives_parent
  // The child stores a descriptor of its own page map here, or -1. Null if it needs none.
  int* pagemap_fd = nullptr;
};

// The caller must have blocked all signals. Afterwards all signals that are meant for the service
// stay blocked, so no signal of theirs ends the child but SIGKILL. The child ends by itself when
// its parent is gone, unless the plan says otherwise.
void HardenChild(const HardeningPlan& plan);

// True if the parent that the child works for is gone. Always false if the child outlives its
// parent.
bool Abandoned(const HardeningPlan& plan);

}  // namespace stillframe
