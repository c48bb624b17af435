// The bytes of an image that a RangeReader fetches range by range, such as an object in a store.
// Each request takes a round trip through the network, so the two ends of the file, which hold the
// small parts of an image, are each fetched only once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "image/byte_source.h"

namespace stillframe {

class RangeReader {
 public:
  virtual ~RangeReader() = default;
  // Reads all of these bytes of the file with this number. Several threads call it at
  // once, and each of them blocks.
  virtual Status Read(uint32_t file, std::byte* out, uint64_t length, uint64_t offset) = 0;
};

class RangeSource final : public ByteSource {
 public:
  RangeSource(std::shared_ptr<RangeReader> reader, uint32_t file, uint64_t length)
      : reader_(std::move(reader)), file_(file), length_(length) {}

  uint64_t length() const override { return length_; }
  uint64_t allocated_bytes() const override { return length_; }
  Status Read(std::byte* out, uint64_t length, uint64_t offset,
              const std::string& section) const override;
  Status ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                  const std::string& section) const override;
  // Enough to hide the latency of each read, and little memory: JavaScript holds a
  // copy of each range too.
  size_t reads_at_once() const override { return 5; }
  uint64_t NextHole(uint64_t /*offset*/, uint64_t end) const override { return end; }
  uint64_t NextData(uint64_t offset, uint64_t /*end*/) const override { return offset; }

 private:
  // A range of the file that is kept in memory.
  struct Kept {
    uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  Status Keep(uint64_t offset, uint64_t length, Kept* kept) const;

  const std::shared_ptr<RangeReader> reader_;
  const uint32_t file_;
  const uint64_t length_;
  mutable std::mutex mutex_;  // guards the members below
  mutable Kept head_;
  mutable Kept tail_;
};

}  // namespace stillframe
