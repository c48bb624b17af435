#include "capture/space_check.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/arithmetic.h"
#include "base/sys.h"
#include "image/zero_page.h"

namespace stillframe {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;  // whole blocks
constexpr int kPiecesPerStep = 32;

}  // namespace

SpaceCheck::SpaceCheck(int target_fd, const std::vector<FreezeSource>& sources,
                       uint64_t overhead_bytes)
    : sources_(sources), needed_bytes_(overhead_bytes) {
  struct statfs about {};
  uint64_t all = overhead_bytes;
  for (const FreezeSource& source : sources) all += RoundUp(source.byte_length, kPageSize);
  if (sys::Fstatfs(target_fd, &about) < 0) {
    finished_ = true;  // a filesystem that does not say
    return;
  }
  free_bytes_ = static_cast<uint64_t>(about.f_bavail) * static_cast<uint64_t>(about.f_bsize);
  finished_ = free_bytes_ >= all;
  if (finished_) return;
  memory_.Reset(sys::Open(AT_FDCWD, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0));
  finished_ = !memory_.valid();
  piece_.resize(kPiece);
}

Status SpaceCheck::Step() {
  for (int i = 0; i < kPiecesPerStep && !finished_; i++) {
    if (source_ == sources_.size()) {
      finished_ = true;
      break;
    }
    const FreezeSource& source = sources_[source_];
    if (offset_ >= source.byte_length) {
      source_++;
      offset_ = 0;
      continue;
    }
    const uint64_t length = std::min(kPiece, source.byte_length - offset_);
    const int64_t got = sys::Pread(memory_.get(), piece_.data(), length,
                                   reinterpret_cast<uint64_t>(source.data) + offset_);
    // A block is stored whole as soon as one page of it is not zero.
    const auto have = static_cast<uint64_t>(std::max<int64_t>(got, 0));
    for (uint64_t block = 0; block < have; block += kBlockSize) {
      const uint64_t end = std::min(block + kBlockSize, RoundDown(have, kPageSize));
      for (uint64_t page = block; page < end; page += kPageSize) {
        if (IsZeroPage(piece_.data() + page)) continue;
        needed_bytes_ += end - block;
        break;
      }
    }
    offset_ += length;
    // What has been written so far counts as needed and is not free any more: ask the disk only once.
    if (needed_bytes_ > free_bytes_) {
      Failure failure =
          SystemFailure("statfs", ENOSPC,
                        "the snapshot needs more than " + std::to_string(needed_bytes_) +
                            " bytes and the disk has " + std::to_string(free_bytes_));
      return failure;
    }
  }
  return Success{};
}

}  // namespace stillframe
