// The frozen pages of the fork engine: the child's own copy of the sources.
//
// Used in the child and therefore built with the child's unit, so it calls nothing but memcpy and
// raw system calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/page_source.h"

namespace stillframe {

struct ForkedSource {
  std::byte* data;
  // No other source shares any of these bytes, so saved pages can be given back.
  bool releasable;
  // The source is a private mapping of a file.
  bool of_file;
};

class ForkedPages final : public PageSource {
 public:
  bool StillOfFile(uint32_t section, uint64_t offset, uint64_t length) const override;
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                  CopiedPage* pages) override;
  // After the child has given a page back, the service can write to it without a copy.
  void Release(uint32_t section, uint64_t offset, size_t length) override;

  // Both are set before the fork.
  const ForkedSource* sources = nullptr;
  uint64_t page_size = 0;
  // The page map of the child, opened by HardenChild(). If it is -1, StillOfFile() always returns
  // false.
  int pagemap_fd = -1;
};

}  // namespace stillframe
