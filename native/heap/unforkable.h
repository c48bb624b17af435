// The memory that fork leaves out, and its being let in for one fork.
//
// Node builds V8 so that it advises the kernel against copying its heap to children
// (MADV_DONTFORK). Which mappings these are the kernel tells in /proc/self/smaps only, and reading
// that visits the page tables of the whole process. A child without the advice lifted does not have
// them: so one is made that does nothing, and its list of mappings is compared with ours.
//
// Other threads unmap and map memory meanwhile. To advise against forking what is not V8's would
// end the children of child_process, which need malloc's. So an address alone is not trusted: what
// is found is marked by a second advice that nobody else gives, only what a probe made after that
// does not have either is taken, and when the pause is over a walk through smaps looks for memory
// that we have advised about and that does not bear the mark.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/result.h"
#include "memory/mapping_list.h"

namespace stillframe {

// The caller holds the FlipLock from FindUnforkable to MakeUnforkable.

// The private mappings that a fork at this moment would leave out, without `keep_out` (in ascending
// order). MendUnforkable has to follow, even if it fails.
Result<std::vector<AddressRange>> FindUnforkable(const std::vector<AddressRange>& keep_out);

// MADV_DOFORK. Memory that has been unmapped meanwhile is skipped.
void MakeForkable(const std::vector<AddressRange>& ranges);
// MADV_DONTFORK. Returns the ranges that the kernel refused, for another try.
std::vector<AddressRange> MakeUnforkable(const std::vector<AddressRange>& ranges);
// Makes memory forkable again that has been mapped where V8 had memory, and takes the marks off. It
// is slow, and neither under the lock nor in the pause.
void MendUnforkable();

// Called in the copy. Memory that another thread has mapped between FindUnforkable and the fork,
// and that V8 has advised about, is missing; but V8's state that all threads share may know of it:
// pools of free pages, code of WebAssembly. Nothing of the forking thread's own is in it, so empty
// memory will do: it is only written to, or reused. `keep_out` stays out. The parent has opened its
// own /proc/self/maps for this before the fork, since the copy might not be allowed to.
void FillMissing(int maps_of_parent, const std::vector<AddressRange>& keep_out);

}  // namespace stillframe
