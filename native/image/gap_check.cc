#include "image/gap_check.h"

#include <algorithm>

#include "image/read_failure.h"

namespace stillframe {

namespace {

constexpr uint64_t kWindow = uint64_t{1} << 20;

}  // namespace

uint64_t FirstNotZero(const std::byte* bytes, uint64_t length) {
  const auto* found =
      std::find_if(bytes, bytes + length, [](std::byte byte) { return byte != std::byte{0}; });
  return static_cast<uint64_t>(found - bytes);
}

Status CheckZeros(const ByteSource& source, uint64_t offset, uint64_t length,
                  const std::string& section, ReadScratch* scratch) {
  scratch->zeros()->resize(kWindow);
  const uint64_t end = offset + length;
  while (offset < end) {
    // Holes are zero by definition, so only what the filesystem reports as data is read.
    offset = source.NextData(offset, end);
    if (offset == end) break;
    const uint64_t piece = std::min(kWindow, end - offset);
    Status read = source.Read(scratch->zeros()->data(), piece, offset, section);
    if (!read.ok()) return read;
    const uint64_t bad = FirstNotZero(scratch->zeros()->data(), piece);
    if (bad != piece) {
      return Corrupt(offset + bad, section, "there are bytes where the file must be zero");
    }
    offset += piece;
  }
  return Success{};
}

}  // namespace stillframe
