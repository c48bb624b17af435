#include "image/range_source.h"

#include <algorithm>
#include <cstring>

#include "image/format.h"
#include "image/read_failure.h"

namespace stillframe {
namespace {

// Holds the trailer, the section table and the metadata of most files.
constexpr uint64_t kTail = uint64_t{64} << 10;

}  // namespace

Status RangeSource::Keep(uint64_t offset, uint64_t length, Kept* kept) const {
  kept->bytes.resize(length);
  kept->offset = offset;
  Status read = reader_->Read(file_, kept->bytes.data(), length, offset);
  if (!read.ok()) kept->bytes.clear();
  return read;
}

Status RangeSource::Read(std::byte* out, uint64_t length, uint64_t offset,
                         const std::string& section) const {
  if (length == 0) return Success{};
  if (offset > length_ || length > length_ - offset) {
    return Corrupt(length_, section, "the file ends before what it should hold: it is truncated");
  }
  const uint64_t tail = length_ - std::min(kTail, length_);
  const bool in_head = offset + length <= std::min(kPageSize, length_);
  if (!in_head && offset < tail) return ReadMuch(out, length, offset, section);
  const std::lock_guard lock(mutex_);
  Kept& kept = in_head ? head_ : tail_;
  if (kept.bytes.empty()) {
    Status read =
        in_head ? Keep(0, std::min(kPageSize, length_), &kept) : Keep(tail, length_ - tail, &kept);
    if (!read.ok()) return read;
  }
  memcpy(out, kept.bytes.data() + (offset - kept.offset), length);
  return Success{};
}

Status RangeSource::ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                             const std::string& section) const {
  if (offset > length_ || length > length_ - offset) {
    return Corrupt(length_, section, "the file ends before what it should hold: it is truncated");
  }
  for (uint64_t done = 0; done < length;) {
    const uint64_t count = std::min(length - done, kChunkSize + 2 * kPageSize);
    Status read = reader_->Read(file_, out + done, count, offset + done);
    if (!read.ok()) return read;
    done += count;
  }
  return Success{};
}

}  // namespace stillframe
