// The frozen pages of the fork engine: the child's own copy of the sources.
//
// Runs in the child, so it is built with the child's unit and calls nothing but memcpy and raw system calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/page_source.h"

namespace stillframe {

struct ForkedSource {
  std::byte* data;
  // No other source shares any of its bytes, so saved pages can be given back.
  bool releasable;
  // A private mapping of a file.
  bool of_file;
};

class ForkedPages final : public PageSource {
 public:
  bool StillOfFile(uint32_t section, uint64_t offset, uint64_t length) const override;
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) override;
  // Once the child has given a page back, the service writes to it without a copy.
  void Release(uint32_t section, uint64_t offset, size_t length) override;

  // Both set before the fork.
  const ForkedSource* sources = nullptr;
  uint64_t page_size = 0;
  // Of the child, opened by HardenChild(); -1: nothing is said of files.
  int pagemap_fd = -1;
};

}  // namespace stillframe
