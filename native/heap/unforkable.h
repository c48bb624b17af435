// The memory that fork leaves out, and its being let in for one fork.
//
// Node builds V8 so that it advises the kernel against copying its heap to children (MADV_DONTFORK). Which mappings
// these are the kernel tells in /proc/self/smaps only, and reading that visits the page tables of the whole process. A
// child without the advice lifted does not have them: so one is made that does nothing, and its list of mappings is
// compared with ours.
#pragma once

#include <vector>

#include "base/result.h"
#include "memory/mapping_list.h"

namespace stillframe {

// The private mappings that a fork just now would leave out, without `keep_out` (in ascending order).
Result<std::vector<AddressRange>> FindUnforkable(const std::vector<AddressRange>& keep_out);

// MADV_DOFORK. What has been unmapped meanwhile is skipped.
void MakeForkable(const std::vector<AddressRange>& ranges);
// MADV_DONTFORK. Returns those that the kernel refused, for another try.
std::vector<AddressRange> MakeUnforkable(const std::vector<AddressRange>& ranges);

}  // namespace stillframe
