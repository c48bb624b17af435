#include "image/encoding.h"

#include "image/block_codec.h"

namespace stillframe {

uint64_t CodecWorkspaceBytes(const Encoding& encoding) {
  switch (encoding.codec) {
    case Codec::kNone:
      return 0;
    case Codec::kZstd:
      return BlockCompressor::WorkspaceBytes(encoding.level);
  }
  return 0;
}

}  // namespace stillframe
