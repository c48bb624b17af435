// Compresses and decompresses single blocks with zstd, in memory that the caller provides.
//
// The code neither allocates nor locks, since zstd is built without either (binding.gyp) and
// works in static workspaces. Therefore the same code serves threads and forked children,
// whatever the state of the process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/format.h"

namespace stillframe {

// Compression levels of zstd. Negative levels are faster than level 1.
inline constexpr int kMinLevel = -50;
inline constexpr int kMaxLevel = 22;

class BlockCompressor {
 public:
  static uint64_t WorkspaceBytes(int level);

  // `workspace` has WorkspaceBytes(level) bytes and is 8-byte aligned.
  BlockCompressor(std::byte* workspace, int level);
  BlockCompressor(const BlockCompressor&) = delete;
  BlockCompressor& operator=(const BlockCompressor&) = delete;

  // Compresses at most one block. Returns the number of bytes written to `out`, which is less than
  // `length`, or 0 if the block does not shrink.
  uint64_t Compress(const std::byte* bytes, uint64_t length, std::byte* out);

 private:
  void* context_;
};

class BlockDecompressor {
 public:
  static uint64_t WorkspaceBytes();

  explicit BlockDecompressor(std::byte* workspace);
  BlockDecompressor(const BlockDecompressor&) = delete;
  BlockDecompressor& operator=(const BlockDecompressor&) = delete;

  // Returns true if `bytes` is a single frame as Compress() makes it, with the length and
  // the checksum of its content, and the content is exactly `out_length` bytes long. The
  // content is then in `out`.
  bool Decompress(const std::byte* bytes, uint64_t length, std::byte* out, uint64_t out_length);

 private:
  void* context_;
};

}  // namespace stillframe
