// Encode and write: the loop that turns frozen pages into blocks of the file.
//
// Several savers share the work of one capture: each takes a chunk, and while one waits for the disk the others
// copy, look for zeros, compress and hash. They are threads of this process, or bare threads of a forked child;
// the same code runs in both. It works only on its plan, the control block, one sink and frozen pages: no
// allocation, no lock, no exception, no stdio.
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
  uint64_t data_end = 0;                  // no block lies behind it; 0: the file has its length
  const SaveSection* sections = nullptr;  // in ascending order of first_chunk
  uint32_t section_count = 0;
  uint64_t chunk_count = 0;
  PageSource* pages = nullptr;
  ControlHeader* control = nullptr;
  BlockEntry* index = nullptr;
  PageSum* sums = nullptr;  // kPagesPerBlock for each entry of the index
  // Only pages whose sum is another one than the one in `sums` are saved, once control->sums_ready is set. The layout is
  // a packed one.
  bool delta = false;
  const uint64_t* as_mapped = nullptr;    // of a delta of mapped sources: see ControlBlock
  const SaverBuffers* buffers = nullptr;  // [saver_count]
  uint32_t saver_count = 1;
  ByteSink* sink = nullptr;  // all writes to it are aligned
  Pacing pacing;
  // Asked before each chunk; true ends the loop (the parent is gone). May be null.
  bool (*interrupted)(const void* context) = nullptr;
  const void* interrupted_context = nullptr;
};

enum class SaveEnd : uint8_t { kComplete, kAborted, kInterrupted, kFailed };

// Takes chunk after chunk until none is left for saver number `saver`. kFailed: the reason stands in the control
// block, and the others end with it.
SaveEnd SaveChunks(const SavePlan& plan, uint32_t saver = 0);

// The end of all savers together: complete only when each is.
SaveEnd WorseEnd(SaveEnd a, SaveEnd b);

}  // namespace stillframe
