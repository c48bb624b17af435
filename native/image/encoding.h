// How the blocks of a file are written: their layout, and the transformation of their bytes. A
// further transformation (a cipher) would be another member here, and a step in the saver
// between compressing and hashing.
#pragma once

#include <cstdint>

#include "image/format.h"

namespace stillframe {

struct Encoding {
  Layout layout = Layout::kFlat;
  Codec codec = Codec::kNone;  // kZstd only in a packed layout
  int level = 0;               // compression level of the codec
};

// Size of the workspace that the codec of one saver needs.
uint64_t CodecWorkspaceBytes(const Encoding& encoding);

}  // namespace stillframe
