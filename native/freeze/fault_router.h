// The single owner of SIGSEGV and SIGBUS.
//
// Node installs a SIGSEGV handler for WebAssembly traps, and others may install their own. Our
// handler goes in front when the first capture by write protection starts, and stays for the life
// of the process. It acts only on faults in memory that is armed at that moment. All other faults
// go, with the same arguments, to the handler that was there before, or to the default action, so
// that a null dereference ends the process as it always did.
//
// Each arming first checks whether our handler is still in front. If another handler has been put
// in front of it, ours goes in front again and chains to that one. Should that one chain back to
// ours, the second entry calls the very first handler and never itself. If a handler is installed
// during a capture, the next look of the supervisor notices it, and ours goes in front again.
// Faults before that go to the other handler.
//
// A fault can also come late: the page was protected when the CPU took the fault, and the
// capture has ended since. The address is then in memory that was armed a moment ago, and the
// write is simply retried.
//
// The handler neither locks nor allocates. It sees armed memory through an array of atomic
// pointers, and disarming waits until no handler is inside any more.
#pragma once

#include "base/result.h"
#include "freeze/blocking_threads.h"
#include "freeze/frozen_memory.h"

namespace stillframe {

// Message of the BUSY failure for memory that is in another capture.
inline constexpr char kAlreadyProtected[] =
    "a region is being captured by write protection already, and can be by one capture at a time; "
    "until that ends only engine 'fork' can capture it as well";

// Resolves writes to this memory by signal, until Disarm. Also makes the memory known to
// PrepareArmedForWrite(); with kNone, it does only that.
Status Arm(FrozenMemory* memory, FaultSignal signal);
void Disarm(FrozenMemory* memory);
// Called instead of Disarm if the kernel refuses to make some of the memory writable again. The
// memory stays armed, so that each write can retry for its own page, and the next arming first
// retries to lift all of it.
void StayArmed(std::unique_ptr<FrozenMemory> memory);
// Puts our handler in front again if another one has been installed.
Status StayInFront(FaultSignal signal);

// Makes every running capture keep the frozen bytes of its pages in this range and lift their
// protection, so that the kernel can write there.
void PrepareArmedForWrite(std::byte* start, uint64_t length);

}  // namespace stillframe
