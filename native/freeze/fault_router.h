// The one owner of SIGSEGV and SIGBUS.
//
// Node installs a SIGSEGV handler for WebAssembly traps, and others may install theirs. Ours is put in front
// when the first capture by write protection starts and stays for the life of the process. It acts only on
// faults inside memory that is armed just now; everything else goes to the handler that was there before, with
// the same arguments, or to the default action, so that a null dereference dies as it always did.
//
// Before each arming it is looked at whether we are still in front. If somebody has put a handler before ours,
// we go in front again and chain to it; should that one chain back to us, the second entry goes on to the very
// first handler and never to itself.
//
// Who comes meanwhile is noticed when the supervisor looks: then we go in front again. A fault before that goes to them.
//
// A fault can also come late: the page was protected when the CPU took it, and the capture has ended since. Such
// an address lies in memory that was armed a moment ago, and the write is simply tried again.
//
// The handler neither locks nor allocates; it sees armed memory through an array of atomic pointers, and whoever
// disarms waits until no handler is inside any more.
#pragma once

#include "base/result.h"
#include "freeze/frozen_memory.h"

namespace stillframe {

enum class FaultSignal : uint8_t { kSegv, kBus, kNone };

// Said of memory that is in another capture: BUSY.
inline constexpr char kAlreadyProtected[] =
    "a region is being captured by write protection already, and can be by one capture at a time; "
    "until that ends only engine 'fork' can capture it as well";

// Makes writes to this memory resolve by signal, until Disarm. Also serves FindArmed. kNone: only that.
Status Arm(FrozenMemory* memory, FaultSignal signal);
void Disarm(FrozenMemory* memory);
// Instead of Disarm, where the kernel refuses to make some of it writable again: it stays armed, so that each write may
// try for its own page, and is tried as a whole again before the next arming.
void StayArmed(std::unique_ptr<FrozenMemory> memory);
// Puts the handler in front again, should somebody else have come.
Status StayInFront(FaultSignal signal);

// Lets every capture under way that has pages in this range keep them, so that the kernel can write there.
void PrepareArmedForWrite(std::byte* start, uint64_t length);

// The name and id of a thread on which such a signal would kill the process, since it is blocked there; empty
// when there is none. Threads of Node itself that never touch foreign memory are left out.
std::string ThreadThatBlocks(FaultSignal signal);
// Notes those threads. Called once, when the addon is loaded.
void NoteQuietThreads();

}  // namespace stillframe
