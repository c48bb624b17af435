// Finds the memory that fork leaves out, and makes it forkable for one fork.
//
// Node builds V8 so that it advises the kernel against copying its heap to children
// (MADV_DONTFORK). The kernel shows which mappings these are only in /proc/self/smaps, and reading
// that visits the page tables of the whole process. But a child that is forked without lifting the
// advice does not have these mappings: so a probe child is made that does nothing, and its list of
// mappings is compared with ours.
//
// Other threads map and unmap memory meanwhile. Advising against forking memory that is not V8's
// would break the children of child_process, which need malloc's memory. So an address alone is not
// trusted: all memory that could be V8's is marked with a second advice before the probe is made,
// and after the pause a walk through smaps looks for memory that we have advised about and that
// does not have the mark. It was mapped since.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/result.h"
#include "memory/mapping_list.h"

namespace stillframe {

// The caller holds the FlipLock from FindUnforkable to MakeUnforkable.

// The private mappings that a fork at this moment would leave out, except for `keep_out` (in
// ascending order). MendUnforkable has to be called afterwards, even if this fails.
Result<std::vector<AddressRange>> FindUnforkable(const std::vector<AddressRange>& keep_out);

// MADV_DOFORK. Skips memory that has been unmapped meanwhile.
void MakeForkable(const std::vector<AddressRange>& ranges);
// MADV_DONTFORK. Returns the ranges that the kernel refused, for another attempt.
std::vector<AddressRange> MakeUnforkable(const std::vector<AddressRange>& ranges);
// Makes memory forkable again that has been mapped where V8 had memory, removes the marks, and
// waits for the ends of the probes. It is slow, so it is called after the pause and without the
// lock.
void MendUnforkable();

// Called in the copy. Memory that another thread has mapped between FindUnforkable and the fork,
// and that V8 has advised about, is missing in the copy. But the state that V8 shares between
// threads may refer to it: pools of free pages, WebAssembly code. It holds nothing that belongs to
// the forking thread, so empty memory is enough: it is only written to, or reused. `keep_out` stays
// unmapped. The parent has opened its own /proc/self/maps before the fork, since the copy might not
// be allowed to.
void FillMissing(int maps_of_parent, const std::vector<AddressRange>& keep_out);

}  // namespace stillframe
