// What every forked child does first, whatever it is for: afterwards nothing of the host runs in
// it, and nothing of it is in the host's way. Like all of this unit, it makes raw system calls
// only.
#pragma once

#include "image/control_block.h"

namespace stillframe {

// Exit statuses. The control block tells the rest.
inline constexpr int kChildComplete = 0;
inline constexpr int kChildFailed = 1;
inline constexpr int kChildAborted = 2;
inline constexpr int kChildParentGone = 3;

struct HardeningPlan {
  ControlHeader* control;
  int target_fd;         // stays open
  int alive_fd;          // stays open: read end of a pipe that ends when the parent does
  bool use_close_range;  // false forces the fallback
  // The child goes on when the parent has ended, and publishes its file itself.
  bool outlives_parent = false;
  int directory_fd = -1;  // stays open then: that of the target
  // In the child: gets a descriptor of its own page map, or -1. Null: it needs none.
  int* pagemap_fd = nullptr;
};

// All signals are blocked when it is called; afterwards all are that others may send. From outside
// only SIGKILL ends the process; it ends by itself when its parent is gone, unless the plan says
// otherwise.
void HardenChild(const HardeningPlan& plan);

// Whether there is nobody left for whom the child would work.
bool Abandoned(const HardeningPlan& plan);

}  // namespace stillframe
