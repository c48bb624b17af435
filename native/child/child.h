// Everything that runs in the forked child of a capture, between the fork and _exit.
//
// The child is a copy of one thread of a multi-threaded process: any lock of libc, V8 or libuv may
// be held forever by a thread that does not exist here. So this unit only makes raw system calls
// (base/sys), and calls nothing that may allocate, lock, throw or run at exit. A test lists the
// symbols that it refers to.
#pragma once

#include "child/hardening.h"
#include "image/saver.h"

namespace stillframe {

struct ChildPlan {
  SavePlan save;  // the child itself sets `interrupted`
  HardeningPlan hardening;
};

// The caller must have blocked all signals.
[[noreturn]] void RunChild(const ChildPlan& plan);

}  // namespace stillframe
