// Working memory of one thread that reads blocks.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "image/block_codec.h"

namespace stillframe {

class ReadScratch {
 public:
  // `unpacks` is true if blocks may be stored in encoded form, `whole_chunks` if a file is long
  // enough for huge pages to pay: the kernel prepares a direct read into them in less time.
  static Result<ReadScratch> Create(bool unpacks, bool whole_chunks);
  std::byte* chunk() const { return memory_.data(); }  // one chunk for the caller, page-aligned

  // For layouts. stored() holds the stored bytes of a chunk, extended to page boundaries of the
  // file; dense() holds one block.
  std::byte* stored() const;
  std::byte* dense() const;
  BlockDecompressor* decompressor() const { return decompressor_.get(); }
  // Buffer for the check of gaps.
  std::vector<std::byte>* zeros() { return &zeros_; }

 private:
  explicit ReadScratch(Mapping memory) : memory_(std::move(memory)) {}
  Mapping memory_;
  std::vector<std::byte> zeros_;
  std::unique_ptr<BlockDecompressor> decompressor_;
};

}  // namespace stillframe
