// The lock for changes to the set of memory that a fork copies. It is held from the first change
// until everything is restored, since two changes at a time would undo each other. A forked child
// inherits it locked and never uses it.
#pragma once

#include <mutex>

namespace stillframe {

std::mutex& FlipLock();
// Replaces FlipLock() with the lock of another library, before its first use: each addon has its
// own copy of this code, but the process has only one memory.
void ShareFlipLock(std::mutex* lock);

}  // namespace stillframe
