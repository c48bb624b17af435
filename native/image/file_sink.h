// A file that savers write to. It may be open with O_DIRECT, since all writes are aligned.
#pragma once

#include "image/byte_sink.h"

namespace stillframe {

class FileSink final : public ByteSink {
 public:
  FileSink() = default;
  // The caller keeps ownership of `fd`.
  explicit FileSink(int fd) : fd_(fd) {}

  int64_t Write(const std::byte* bytes, uint64_t length, uint64_t offset) override;
  void Extend(uint64_t length) override;
  int fd() const override { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace stillframe
