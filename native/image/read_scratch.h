// What one thread works in that reads blocks.
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
  // unpacks: blocks are not stored as they are.
  static Result<ReadScratch> Create(bool unpacks);
  std::byte* chunk() const { return memory_.data(); }  // one chunk, page-aligned: for the caller

  // For layouts. stored(): of a chunk, what lies between two page borders in the file. dense(): one block.
  std::byte* stored() const;
  std::byte* dense() const;
  BlockDecompressor* decompressor() const { return decompressor_.get(); }
  // For the check of gaps.
  std::vector<std::byte>* zeros() { return &zeros_; }

 private:
  explicit ReadScratch(Mapping memory) : memory_(std::move(memory)) {}
  Mapping memory_;
  std::vector<std::byte> zeros_;
  std::unique_ptr<BlockDecompressor> decompressor_;
};

}  // namespace stillframe
