// One write to the target file that gets on, or says why not.
//
// The callers write in loops until all is written, so each step has to be one: an answer of 0 bytes (FUSE, a full
// remote) is an error, and a write that is interrupted again and again is given up. Without locks and memory of its
// own: also the forked copies use it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// Bytes written, at least 1, or -errno. Leaves direct mode where the filesystem refuses a write in it.
int64_t WriteSome(int fd, const void* bytes, size_t length, uint64_t offset);

}  // namespace stillframe
