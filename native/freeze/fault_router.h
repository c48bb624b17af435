// The one owner of SIGSEGV and SIGBUS.
//
// Node installs a SIGSEGV handler for WebAssembly traps, and others may install theirs. Ours is put
// in front when the first capture by write protection starts, and stays for the life of the
// process. It acts only on faults inside memory that is armed at that moment; everything else goes
// to the handler that was there before, with the same arguments, or to the default action, so that
// a null dereference dies as it always did.
//
// Before each arming it is checked whether our handler is still in front. If somebody has put a
// handler before it, it goes in front again and chains to that one; should that one chain back to
// ours, the second entry goes on to the very first handler and never to itself. A handler that is
// installed in between is noticed when the supervisor looks, and ours then goes in front again. A
// fault before that goes to the other handler.
//
// A fault can also come late: the page was protected when the CPU took it, and the capture has
// ended since. Such an address lies in memory that was armed a moment ago, and the write is simply
// tried again.
//
// The handler neither locks nor allocates. It sees armed memory through an array of atomic
// pointers, and disarming waits until no handler is inside any more.
#pragma once

#include "base/result.h"
#include "freeze/blocking_threads.h"
#include "freeze/frozen_memory.h"

namespace stillframe {

// The message for memory that is in another capture: BUSY.
inline constexpr char kAlreadyProtected[] =
    "a region is being captured by write protection already, and can be by one capture at a time; "
    "until that ends only engine 'fork' can capture it as well";

// Makes writes to this memory resolve by signal, until Disarm. It also serves FindArmed; with kNone
// it does only that.
Status Arm(FrozenMemory* memory, FaultSignal signal);
void Disarm(FrozenMemory* memory);
// Instead of Disarm, if the kernel refuses to make some of the memory writable again: it stays
// armed, so that each write can try for its own page, and is tried again as a whole before the next
// arming.
void StayArmed(std::unique_ptr<FrozenMemory> memory);
// Puts the handler in front again, in case somebody else has installed one.
Status StayInFront(FaultSignal signal);

// Lets every running capture that has pages in this range keep them, so that the kernel can write
// there.
void PrepareArmedForWrite(std::byte* start, uint64_t length);

}  // namespace stillframe
