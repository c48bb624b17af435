#include "image/block_codec.h"

// For static workspaces and explicit parameters. package-lock.json pins the release of
// zstd that is built in.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

namespace stillframe {
namespace {

ZSTD_compressionParameters ParametersOf(int level) { return ZSTD_getCParams(level, kBlockSize, 0); }

ZSTD_CCtx* Compressing(void* context) { return static_cast<ZSTD_CCtx*>(context); }
ZSTD_DCtx* Decompressing(void* context) { return static_cast<ZSTD_DCtx*>(context); }

}  // namespace

uint64_t BlockCompressor::WorkspaceBytes(int level) {
  return ZSTD_estimateCCtxSize_usingCParams(ParametersOf(level));
}

BlockCompressor::BlockCompressor(std::byte* workspace, int level)
    : context_(ZSTD_initStaticCCtx(workspace, WorkspaceBytes(level))) {
  // A static context does not have zstd's defaults, one of which is that frames record
  // the length of their content.
  ZSTD_CCtx_reset(Compressing(context_), ZSTD_reset_session_and_parameters);
  // Uses the same tables for blocks of every length, so that they fit into the workspace.
  ZSTD_CCtx_setCParams(Compressing(context_), ParametersOf(level));
  // Checks decompressed bytes end to end; the checksum in the index is that of the stored bytes.
  ZSTD_CCtx_setParameter(Compressing(context_), ZSTD_c_checksumFlag, 1);
}

uint64_t BlockCompressor::Compress(const std::byte* bytes, uint64_t length, std::byte* out) {
  const size_t size = ZSTD_compress2(Compressing(context_), out, length - 1, bytes, length);
  return ZSTD_isError(size) != 0 ? 0 : size;
}

uint64_t BlockDecompressor::WorkspaceBytes() { return ZSTD_estimateDCtxSize(); }

BlockDecompressor::BlockDecompressor(std::byte* workspace)
    : context_(ZSTD_initStaticDCtx(workspace, WorkspaceBytes())) {}

bool BlockDecompressor::Decompress(const std::byte* bytes, uint64_t length, std::byte* out,
                                   uint64_t out_length) {
  // A decoder also accepts frames that record neither the length nor a checksum of their content.
  // Damage in such a frame would go unnoticed if the index is not checked, and there would be more
  // than one way to write a block.
  ZSTD_FrameHeader header;
  if (ZSTD_getFrameHeader(&header, bytes, length) != 0) return false;
  if (header.frameContentSize != out_length || header.checksumFlag == 0) return false;
  // Only one frame, with nothing after it: a skippable frame could hide arbitrary bytes.
  if (ZSTD_findFrameCompressedSize(bytes, length) != length) return false;
  return ZSTD_decompressDCtx(Decompressing(context_), out, out_length, bytes, length) == out_length;
}

}  // namespace stillframe
