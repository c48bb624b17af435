// How the blocks of a file are written: where they lie, and what is done to their bytes. What comes next to it (a cipher)
// is a further member, and a step in the saver between compressing and hashing.
#pragma once

#include <cstdint>

#include "image/format.h"

namespace stillframe {

struct Encoding {
  Layout layout = Layout::kFlat;
  Codec codec = Codec::kNone;  // kZstd: in a packed layout only
  int level = 0;               // of the codec
};

// What one saver's codec works in.
uint64_t CodecWorkspaceBytes(const Encoding& encoding);

}  // namespace stillframe
