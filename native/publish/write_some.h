// One write to the target file that makes progress or says why not.
//
// The callers write in loops until everything is written, so each call must make progress: an
// answer of 0 bytes (FUSE, a full remote) is an error, and a write that is interrupted again and
// again is given up. Takes no locks and no memory, since forked copies use it, too.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// Returns the bytes written, at least 1, or -errno. Leaves direct mode if the filesystem
// refuses a write in it.
int64_t WriteSome(int fd, const void* bytes, size_t length, uint64_t offset);

}  // namespace stillframe
