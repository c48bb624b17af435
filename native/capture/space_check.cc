#include "capture/space_check.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/arithmetic.h"
#include "base/sys.h"
#include "image/zero_page.h"

namespace stillframe {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;  // whole blocks
constexpr int kPiecesPerStep = 32;

}  // namespace

std::optional<uint64_t> FreeBytes(int fd) {
  struct statfs about {};
  if (sys::Fstatfs(fd, &about) < 0 || about.f_blocks == 0) return std::nullopt;
  // The unit is f_frsize, the fragment size, where it differs from f_bsize (FUSE).
  const auto unit = about.f_frsize != 0 ? about.f_frsize : about.f_bsize;
  return static_cast<uint64_t>(about.f_bavail) * static_cast<uint64_t>(unit);
}

SpaceCheck::SpaceCheck(int target_fd, const std::vector<FreezeSource>& sources,
                       uint64_t overhead_bytes)
    : sources_(sources), needed_bytes_(overhead_bytes), source_(sources.size()) {
  uint64_t all = overhead_bytes;
  for (const FreezeSource& source : sources) all += RoundUp(source.byte_length, kPageSize);
  const std::optional<uint64_t> free_bytes = FreeBytes(target_fd);
  finished_ = !free_bytes || *free_bytes >= all;
  free_bytes_ = free_bytes.value_or(0);
  if (finished_) return;
  Result<Mapping> piece = Mapping::Anonymous(kPiece, MAP_PRIVATE, "a look at the frozen pages");
  finished_ = !piece.ok();  // the writes will report it
  if (piece.ok()) piece_ = std::move(piece.value());
}

Status SpaceCheck::Step(Engine* engine) {
  for (int i = 0; i < kPiecesPerStep && !finished_; i++) {
    if (end_ > 0) {
      Count(engine);
    } else if (source_ > 0) {
      end_ = sources_[--source_].byte_length;
    } else {
      finished_ = true;
    }
    if (needed_bytes_ > free_bytes_) {
      return SystemFailure("statfs", ENOSPC,
                           "the snapshot needs more than " + std::to_string(needed_bytes_) +
                               " bytes and the disk has " + std::to_string(free_bytes_));
    }
  }
  return Success{};
}

void SpaceCheck::Count(Engine* engine) {
  const uint64_t start = RoundDown(end_ - 1, kPiece);
  const uint64_t length = end_ - start;
  engine->Peek(static_cast<uint32_t>(source_), start, length, piece_.data());
  // A partial last page takes a whole page of the file.
  const uint64_t whole = RoundUp(length, kPageSize);
  std::fill(piece_.data() + length, piece_.data() + whole, std::byte{0});
  // A block is stored whole as soon as one of its pages is not zero.
  for (uint64_t block = 0; block < whole; block += kBlockSize) {
    const uint64_t block_end = std::min(block + kBlockSize, whole);
    for (uint64_t page = block; page < block_end; page += kPageSize) {
      if (IsZeroPage(piece_.data() + page)) continue;
      needed_bytes_ += block_end - block;
      break;
    }
  }
  end_ = start;
}

}  // namespace stillframe
