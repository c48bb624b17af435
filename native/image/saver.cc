#include "image/saver.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "image/checksum.h"
#include "image/direct_mode.h"
#include "image/zero_page.h"

namespace stillframe {
namespace {

// Frozen bytes are copied a huge page at a time: an engine that lifts a protection behind the copy then need
// not take huge pages apart. What was copied is still in the cache when it is looked at.
constexpr uint64_t kCopySize = uint64_t{2} << 20;
static_assert(kCopySize % kBlockSize == 0 && ControlBlock::kChunkSize % kCopySize == 0);

void Fail(ControlHeader* control, SaveStep step, int error_number, uint64_t offset) {
  control->error_step.store(step, std::memory_order_relaxed);
  control->error_offset.store(offset, std::memory_order_relaxed);
  control->error_number.store(error_number, std::memory_order_release);
}

// 0, or an errno. Offset, length and buffer are page-aligned, also after a short write.
int WriteAll(const SavePlan& plan, const std::byte* bytes, uint64_t length, uint64_t offset) {
  uint64_t done = 0;
  while (done < length) {
    const int64_t wrote = sys::Pwrite(plan.fd, bytes + done, length - done, offset + done);
    if (wrote == -EINTR) continue;
    if (wrote == -EINVAL && LeaveDirectMode(plan.fd)) continue;
    if (wrote < 0) return static_cast<int>(-wrote);
    // After a short write go on at a page border, as O_DIRECT wants it; the next call says what is wrong.
    const auto count = static_cast<uint64_t>(wrote);
    const uint64_t whole = RoundDown(count, kPageSize);
    done += whole > 0 ? whole : count;
    plan.control->bytes_written.fetch_add(whole > 0 ? whole : count, std::memory_order_relaxed);
    plan.control->heartbeat.fetch_add(1, std::memory_order_relaxed);
  }
  return 0;
}

const SaveSection& SectionOfChunk(const SavePlan& plan, uint64_t chunk, uint32_t* section_index) {
  uint32_t low = 0;
  uint32_t high = plan.section_count;
  // The last section that starts at or before the chunk; empty sections start where the next one does.
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (plan.sections[middle].first_chunk <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  *section_index = low;
  return plan.sections[low];
}

// 0, or an errno with its step in *step.
int SaveChunk(const SavePlan& plan, uint64_t chunk, SaveStep* step, uint64_t* error_offset) {
  ControlHeader* control = plan.control;
  uint32_t section_index = 0;
  const SaveSection& section = SectionOfChunk(plan, chunk, &section_index);
  const uint64_t start = (chunk - section.first_chunk) * ControlBlock::kChunkSize;
  const uint64_t length = std::min(section.byte_length - start, ControlBlock::kChunkSize);
  const uint64_t padded = RoundUp(length, kPageSize);

  *step = SaveStep::kReading;
  control->step.store(SaveStep::kReading, std::memory_order_relaxed);
  *error_offset = start;
  // Runs of blocks that are not all zero are written with one call each; the others stay holes.
  uint64_t run_start = 0;
  uint64_t run_length = 0;
  uint64_t zero_pages = 0;
  memset(plan.bounce + length, 0, padded - length);
  const auto write_run = [&]() -> int {
    if (run_length == 0) return 0;
    control->step.store(SaveStep::kWriting, std::memory_order_relaxed);
    *step = SaveStep::kWriting;
    *error_offset = section.data_offset + start + run_start;
    const int error = WriteAll(plan, plan.bounce + run_start, run_length, *error_offset);
    run_length = 0;
    return error;
  };

  const uint64_t first_block = start / kBlockSize;
  for (uint64_t at = 0; at < padded; at += kBlockSize) {
    const uint64_t block = first_block + at / kBlockSize;
    const uint64_t block_length = PaddedBlockLength(section.byte_length, block);
    std::byte* bytes = plan.bounce + at;
    if (at % kCopySize == 0) {
      plan.pages->CopyFrozen(section_index, start + at, std::min(kCopySize, length - at), bytes);
    }
    BlockEntry* entry = &plan.index[section.first_entry + block];
    *entry = BlockEntry{};
    entry->section = section_index;
    entry->block = static_cast<uint32_t>(block);
    zero_pages += EncodeBlock(bytes, block_length, entry);
    control->heartbeat.fetch_add(1, std::memory_order_relaxed);
    if (entry->present == 0) {
      if (const int error = write_run()) return error;
      continue;
    }
    entry->file_offset = section.data_offset + start + at;
    entry->stored_length = static_cast<uint32_t>(block_length);
    if (run_length == 0) run_start = at;
    run_length += block_length;
  }
  if (const int error = write_run()) return error;

  *step = SaveStep::kReleasing;
  control->step.store(SaveStep::kReleasing, std::memory_order_relaxed);
  plan.pages->Release(section_index, start, length);
  control->zero_pages.fetch_add(zero_pages, std::memory_order_relaxed);
  control->bytes_done.fetch_add(length, std::memory_order_relaxed);
  return 0;
}

}  // namespace

uint32_t EncodeBlock(const std::byte* bytes, uint64_t length, BlockEntry* entry) {
  uint64_t present = 0;
  const uint64_t pages = length / kPageSize;
  for (uint64_t page = 0; page < pages; page++) {
    if (!IsZeroPage(bytes + page * kPageSize)) present |= uint64_t{1} << page;
  }
  entry->present = present;
  entry->checksum = present != 0 ? Checksum(bytes, length) : 0;
  return static_cast<uint32_t>(pages) - static_cast<uint32_t>(std::popcount(present));
}

uint64_t PageSource::NextChunk(ControlHeader* control, uint64_t /*chunk_count*/) {
  return control->next_chunk.fetch_add(1, std::memory_order_relaxed);
}

SaveEnd SaveChunks(const SavePlan& plan) {
  for (;;) {
    if (plan.control->abort_requested.load(std::memory_order_relaxed) != 0)
      return SaveEnd::kAborted;
    if (plan.interrupted != nullptr && plan.interrupted(plan.interrupted_context)) {
      return SaveEnd::kInterrupted;
    }
    const uint64_t chunk = plan.pages->NextChunk(plan.control, plan.chunk_count);
    if (chunk >= plan.chunk_count) return SaveEnd::kComplete;
    SaveStep step = SaveStep::kReading;
    uint64_t offset = 0;
    if (const int error = SaveChunk(plan, chunk, &step, &offset)) {
      Fail(plan.control, step, error, offset);
      return SaveEnd::kFailed;
    }
  }
}

}  // namespace stillframe
