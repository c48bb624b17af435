// Encode and write: the loop that turns frozen pages into blocks of the file.
//
// The same code runs in a thread and in a forked child. It works only on its plan, the control block, one
// descriptor and frozen pages: no allocation, no lock, no exception, no stdio.
#pragma once

#include <cstdint>

#include "image/control_block.h"
#include "image/page_source.h"

namespace stillframe {

struct SaveSection {
  uint64_t byte_length;
  uint64_t data_offset;  // in the file
  uint64_t first_entry;  // in the index
  uint64_t first_chunk;  // of all chunks of the capture; chunks do not cross sections
};

struct SavePlan {
  const SaveSection* sections = nullptr;  // in ascending order of first_chunk
  uint32_t section_count = 0;
  uint64_t chunk_count = 0;
  PageSource* pages = nullptr;
  ControlHeader* control = nullptr;
  BlockEntry* index = nullptr;
  std::byte* bounce = nullptr;  // one chunk, page-aligned
  int fd = -1;                  // may be O_DIRECT: all writes are aligned
  // Asked before each chunk; true ends the loop (the parent is gone). May be null.
  bool (*interrupted)(const void* context) = nullptr;
  const void* interrupted_context = nullptr;
};

enum class SaveEnd : uint8_t { kComplete, kAborted, kInterrupted, kFailed };

// Takes chunk after chunk until none is left. kFailed: the reason stands in the control block.
SaveEnd SaveChunks(const SavePlan& plan);

// Fills the entry for one block whose padded bytes are in `bytes` (a multiple of the page size): which
// pages are not zero, and the checksum. Returns the number of zero pages.
uint32_t EncodeBlock(const std::byte* bytes, uint64_t length, BlockEntry* entry);

}  // namespace stillframe
