// Everything that runs in the forked child of a capture, between the fork and _exit.
//
// The child is a copy of one thread of a multi-threaded process: any lock of libc, V8 or libuv may
// be held for ever by a thread that does not exist here. So this unit makes raw system calls only
// (base/sys), and calls nothing that may allocate, lock, throw or run at exit. A test lists the
// symbols that it refers to.
#pragma once

#include "child/hardening.h"
#include "image/saver.h"

namespace stillframe {

struct ChildPlan {
  SavePlan save;  // its `interrupted` is set by the child itself
  HardeningPlan hardening;
};

// All signals are blocked when it is called.
[[noreturn]] void RunChild(const ChildPlan& plan);

}  // namespace stillframe
