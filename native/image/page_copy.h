// Copies pages for a saver, and finds out in the same pass whether they are zero and what their
// sums are: memory is slower than any of this, and each page is read from it only once.
//
// The code neither allocates nor locks, so a forked child may use it too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/format.h"

namespace stillframe {

// What is known about a page once it has been copied.
struct CopiedPage {
  PageSum sum;  // 0 for a page that is zero
  bool zero;
};

// `from` may have any alignment, `to` is aligned to pages. If the last page is not whole, `to` must
// hold zeros behind it. `pages` receives an element for each page, whole or not. The copy does not
// go through the cache, since the disk is the next to read it.
void CopyPages(const std::byte* from, uint64_t length, std::byte* to, CopiedPage* pages);

// The same for pages that have been copied before.
CopiedPage AboutPage(const std::byte* page);

}  // namespace stillframe
