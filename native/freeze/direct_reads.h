// Detects reads under way whose data the kernel may write to memory past its page table.
//
// A direct read (O_DIRECT, registered buffers of io_uring, filesystems without a page cache) pins
// the pages that it fills, and the kernel writes to them whatever happens to the page table
// meanwhile. No write protection notices that. A fork is safe, because the kernel copies pinned
// pages at once. The kernel does not tell which pages are pinned, but a process can see which of
// its descriptors such reads may come from.
#pragma once

#include <string>

namespace stillframe {

// Describes in words the first descriptor found that such reads may come from; empty if there
// is none. This is part of the pause: it asks for the flags of each descriptor, which takes
// some 0.1 µs each.
std::string FindDirectReads();

}  // namespace stillframe
