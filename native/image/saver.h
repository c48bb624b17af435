// Encodes and writes: the loop that turns frozen pages into blocks of the file.
//
// Several savers share the work of one capture. Each takes a chunk, and while one waits for the
// disk, the others copy, look for zeros, compress and hash. Savers are threads of this process, or
// bare threads of a forked child; both run the same code. It works only on its plan, the control
// block, one sink and frozen pages, without allocations, locks, exceptions or stdio.
#pragma once

#include <cstdint>

#include "image/byte_sink.h"
#include "image/control_block.h"
#include "image/encoding.h"
#include "image/image_layout.h"
#include "image/pacing.h"
#include "image/page_source.h"

namespace stillframe {

struct SavePlan {
  Encoding encoding;
  uint64_t data_end = 0;  // end of all blocks, or a bound; 0: the file already has its length
  const SaveSection* sections = nullptr;  // in ascending order of first_chunk
  uint32_t section_count = 0;
  uint64_t chunk_count = 0;
  PageSource* pages = nullptr;
  ControlHeader* control = nullptr;
  BlockEntry* index = nullptr;
  PageSum* sums = nullptr;  // kPagesPerBlock for each entry of the index
  // Saves only pages whose sum differs from the one in `sums`, once control->sums_ready is set. The
  // layout must be a packed one.
  bool delta = false;
  const uint64_t* as_mapped = nullptr;    // for a delta of mapped sources: see ControlBlock
  const SaverBuffers* buffers = nullptr;  // [saver_count]
  uint32_t saver_count = 1;
  ByteSink* sink = nullptr;  // all writes to it are aligned
  Pacing pacing;
  // Called before each chunk and while waiting. Returning true ends the loop (the
  // parent is gone). May be null.
  bool (*interrupted)(const void* context) = nullptr;
  const void* interrupted_context = nullptr;
};

enum class SaveEnd : uint8_t { kComplete, kAborted, kInterrupted, kFailed };

// Saves one chunk after another as saver number `saver`, until none is left. On kFailed, the reason
// is in the control block, and the other savers end too.
SaveEnd SaveChunks(const SavePlan& plan, uint32_t saver = 0);

// Combines the ends of two savers: complete only if both are complete.
SaveEnd WorseEnd(SaveEnd a, SaveEnd b);

}  // namespace stillframe
