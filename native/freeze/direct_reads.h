// Whether reads may be under way that the kernel writes to memory past its page table.
//
// A direct read (O_DIRECT, registered buffers of io_uring, file systems without a page cache) pins the pages that it fills,
// and writes to them whatever has been done to the page table meanwhile: no write protection sees it. A fork does, since
// the kernel copies pinned pages at once. Which pages are pinned nobody tells; which descriptors such reads can come from,
// the process can see of itself.
#pragma once

#include <string>

namespace stillframe {

// What was found, in words; empty when nothing was. A part of the pause: it asks each descriptor for its flags, which
// takes some 0.1 us each.
std::string FindDirectReads();

}  // namespace stillframe
