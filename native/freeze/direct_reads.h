// Whether reads may be under way that the kernel writes to memory past its page table.
//
// A direct read (O_DIRECT, registered buffers of io_uring, filesystems without a page cache) pins
// the pages that it fills, and the kernel writes to them whatever has been done to the page table
// meanwhile: no write protection sees that. A fork does, since the kernel copies pinned pages at
// once. Nobody tells which pages are pinned, but a process can see which of its descriptors such
// reads can come from.
#pragma once

#include <string>

namespace stillframe {

// What was found, in words; empty if nothing was. It is part of the pause: it asks each descriptor
// for its flags, which takes some 0.1 us each.
std::string FindDirectReads();

}  // namespace stillframe
