// Held by whoever changes which memory a fork copies, from the first change until all is as before: two at a time would
// undo each other's. A forked child inherits it locked and never looks at it.
#pragma once

#include <mutex>

namespace stillframe {

std::mutex& FlipLock();
// Makes FlipLock() the one of another library: each addon has this code for itself, the process has one memory. Before
// any use of it.
void ShareFlipLock(std::mutex* lock);

}  // namespace stillframe
