// Threads on which the signal of a write fault would kill the process, since they block it.
//
// To read the mask of a thread takes the kernel some 10 µs, and a process of Node has a dozen of
// them. So a capture, once its memory is frozen, looks at all of them in passing, and the next one
// reads only the masks of those that it does not know. A thread is known for some seconds if it
// has been there for a while and blocked nothing then: those that block signals for good do so when
// they begin.
#pragma once

#include <cstdint>
#include <string>

namespace stillframe {

enum class FaultSignal : uint8_t { kSegv, kBus, kNone };

// The name and id of such a thread; empty if there is none. Threads of Node itself that never touch
// foreign memory are left out.
std::string ThreadThatBlocks(FaultSignal signal);
// Looks at all threads, and notes those. Called when the addon is loaded.
void NoteQuietThreads();
// Looks at all threads, for the next ThreadThatBlocks().
void LookAtThreads();

}  // namespace stillframe
