// Held while it is changed which memory a fork copies, from the first change until everything is as
// before: two such changes at a time would undo each other. A forked child inherits it locked and
// never looks at it.
#pragma once

#include <mutex>

namespace stillframe {

std::mutex& FlipLock();
// Makes FlipLock() the lock of another library, before any use of it: each addon has this code for
// itself, but the process has only one memory.
void ShareFlipLock(std::mutex* lock);

}  // namespace stillframe
