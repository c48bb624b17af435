// Finds threads that block the signal of a write fault. Such a fault would kill the process.
//
// The kernel takes some 10 µs to read the signal mask of a thread, and a Node process has a dozen
// threads. So a capture reads all masks after its memory is frozen, outside the pause, and the next
// capture reads only the masks of threads that it does not know. A thread is known for a few
// seconds if it had existed for a while and blocked neither signal at that time: threads that block
// signals permanently do so when they start.
#pragma once

#include <cstdint>
#include <string>

namespace stillframe {

enum class FaultSignal : uint8_t { kSegv, kBus, kNone };

// The name and id of a thread that blocks the signal; empty if there is none. Skips the threads of
// Node itself that never touch foreign memory.
std::string ThreadThatBlocks(FaultSignal signal);
// Records those threads of Node. Called when the addon is loaded.
void NoteQuietThreads();
// Reads the masks of all threads, for the next ThreadThatBlocks().
void LookAtThreads();

}  // namespace stillframe
