// Everything that runs in the forked child of a capture, between the fork and _exit.
//
// The child is a copy of one thread of a multi-threaded process: any lock of libc, V8 or libuv may be
// held for ever by a thread that does not exist here. So this unit makes raw system calls only (base/sys),
// and calls nothing that may allocate, lock, throw or run at exit. A test lists the symbols it refers to.
#pragma once

#include "image/saver.h"

namespace stillframe {

struct ChildPlan {
  SavePlan save;         // its `interrupted` is set by the child itself
  int alive_fd;          // read end of a pipe that ends when the parent does
  bool use_close_range;  // false forces the fallback
};

// Exit statuses; the control block tells the rest.
inline constexpr int kChildComplete = 0;
inline constexpr int kChildFailed = 1;
inline constexpr int kChildAborted = 2;
inline constexpr int kChildParentGone = 3;

// All signals are blocked when it is called.
[[noreturn]] void RunChild(const ChildPlan& plan);

}  // namespace stillframe
