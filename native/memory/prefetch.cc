#include "memory/prefetch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/sys.h"
#include "base/thread.h"

// Newer (Linux 5.14) than the headers of the Debian release before 12.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

namespace stillframe {
namespace {

// The disk reads one piece ahead while the pages of the previous piece are being mapped. Pieces are
// large so that reads are large, too.
constexpr size_t kPiece = size_t{8} << 20;
constexpr int kNice = 10;

// The kernel touches the pages, not this thread, so a part that is missing from the file makes the
// call fail and raises no SIGBUS.
void Prefetch(const std::shared_ptr<RegionMemory>& region) {
  std::byte* const start = region->data();
  const size_t length = region->mapped_length();
  for (size_t at = 0; at < length; at += kPiece) {
    if (region.use_count() == 1 || region->discarded()) return;
    const size_t ahead = at + kPiece;
    if (at == 0) sys::Madvise(start, std::min(kPiece, length), MADV_WILLNEED);
    if (ahead < length) {
      sys::Madvise(start + ahead, std::min(kPiece, length - ahead), MADV_WILLNEED);
    }
    const int error = sys::Madvise(start + at, std::min(kPiece, length - at), MADV_POPULATE_READ);
    // EINVAL means an older kernel. Then the pages are at least in the page cache, and that is the
    // part that takes the time.
    if (error < 0 && error != -EINVAL && error != -EAGAIN) return;
  }
}

}  // namespace

void PrefetchInBackground(std::vector<std::shared_ptr<RegionMemory>> regions) {
  if (regions.empty()) return;
  // Prefetching is optional: if no thread can be started, pages are read when they are touched.
  (void)Thread::StartDetached("stillframe-pre", [regions]() mutable {
    sys::BeNice(kNice);
    for (auto& region : regions) {
      Prefetch(region);
      region.reset();
    }
  });
}

}  // namespace stillframe
