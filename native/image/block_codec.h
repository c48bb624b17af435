// Compresses and decompresses single blocks with zstd, in memory that it is given.
//
// No allocation and no lock, in whatever state the process is: zstd is built without either (binding.gyp), and
// works in static workspaces. So the same code serves a thread and a forked child.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/format.h"

namespace stillframe {

// zstd's own scale: negative levels are faster than 1.
inline constexpr int kMinLevel = -50;
inline constexpr int kMaxLevel = 22;

class BlockCompressor {
 public:
  static uint64_t WorkspaceBytes(int level);

  // The workspace has WorkspaceBytes(level) bytes and is 8-byte-aligned.
  BlockCompressor(std::byte* workspace, int level);
  BlockCompressor(const BlockCompressor&) = delete;
  BlockCompressor& operator=(const BlockCompressor&) = delete;

  // Returns the bytes written to `out`, less than `length`, which is at most a block; or 0 when it does not shrink.
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

  // True when `bytes` are one frame as Compress() makes them, with length and checksum of its content, which is exactly
  // `out_length` bytes and then in `out`.
  bool Decompress(const std::byte* bytes, uint64_t length, std::byte* out, uint64_t out_length);

 private:
  void* context_;
};

}  // namespace stillframe
