// The bytes of a file, read past the page cache where that is faster.
#pragma once

#include <memory>
#include <string>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "image/byte_source.h"
#include "image/direct_reader.h"

namespace stillframe {

class FileSource final : public ByteSource {
 public:
  // Opens regular files only, and never blocks.
  static Result<std::unique_ptr<FileSource>> Open(const std::string& path);

  uint64_t length() const override { return length_; }
  uint64_t allocated_bytes() const override { return allocated_bytes_; }
  Status Read(std::byte* out, uint64_t length, uint64_t offset,
              const std::string& section) const override;
  Status ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                  const std::string& section) const override;
  void PrepareForMuch() override;
  uint64_t NextHole(uint64_t offset, uint64_t end) const override;
  uint64_t NextData(uint64_t offset, uint64_t end) const override;
  int fd() const override { return file_.get(); }

 private:
  FileSource() = default;
  bool IsCached(uint64_t offset, uint64_t length) const;

  UniqueFd file_;
  DirectReader direct_;  // the same file with O_DIRECT, where that is possible
  Mapping cache_probe_;  // mapping of the file for mincore(), never accessed
  uint64_t length_ = 0;
  uint64_t allocated_bytes_ = 0;
};

}  // namespace stillframe
