// The only channel between savers (threads or a forked child) and the rest of the library: one
// MAP_SHARED block that is created before the freeze.
//
//   | ControlHeader | BlockEntry[block_count] = the index of the file | PageSum[block_count][kPagesPerBlock] |
//   workspace and stack of each saver |
//
// The buffers that a saver writes to the file from are a private mapping in huge pages, which only
// the saver touches: the kernel prepares a direct write from them in a third of the time or less.
//
// Progress and errors are read in place, without pipes, messages or waiting, and nothing that the
// parent needs is lost when a child dies.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mapping.h"
#include "image/encoding.h"
#include "image/format.h"

namespace stillframe {

// What a saver was doing when it failed or died. SaveStepName() returns the wording.
enum class SaveStep : uint32_t {
  kNone = 0,
  kStarting,       // the child has been forked
  kSignals,        // resetting its signal dispositions and mask
  kWaitForParent,  // until the parent has opened files that it may not open later
  kHardening,      // setting OOM score, dumpable flag, descriptors and name
  kWaitForSums,    // until the parent file of a delta has been read
  kReading,        // copying frozen pages; an unreadable source fails here
  kWriting,        // pwrite to the target file
  kReleasing,      // giving back the memory of saved pages
  kRunning,        // a forked copy running JavaScript: in the callback, or walking the heap
  kPublishing,     // a forked copy publishing its own file
  kFinished,
};
const char* SaveStepName(SaveStep step);

struct ControlHeader {
  // Written by the saver, read by the parent.
  std::atomic<uint64_t> heartbeat;      // grows with every block
  std::atomic<uint64_t> bytes_done;     // logical bytes saved so far
  std::atomic<uint64_t> bytes_written;  // bytes written to the file
  std::atomic<uint64_t> zero_pages;
  std::atomic<uint64_t> changed_pages;  // pages that differ from the parent; without one, all pages
  std::atomic<uint64_t> scanned_bytes;  // bytes read from the sources
  std::atomic<uint64_t> next_chunk;     // the next chunk for a saver to take
  std::atomic<uint64_t> file_tail;      // file offset of the next blocks of a packed file
  std::atomic<int64_t> next_write_ns;   // monotonic time at which the limit allows the next write
  std::atomic<uint32_t> helpers;        // futex: number of savers at work in addition to the first
  std::atomic<SaveStep> step;
  // Error of the first saver that fails. error_number is stored last: once it is not 0, error_step
  // and error_offset are valid.
  std::atomic<uint32_t> error_taken;
  std::atomic<SaveStep> error_step;
  std::atomic<uint64_t> error_offset;
  std::atomic<int32_t> error_number;
  // Written by the parent, read by the saver.
  std::atomic<uint32_t> abort_requested;
  std::atomic<uint32_t> parent_ready;  // futex: the child may make itself unreadable to the parent
  std::atomic<uint32_t> sums_ready;    // futex: for a delta, sums() holds the sums of the parent
};
static_assert(std::atomic<uint64_t>::is_always_lock_free &&
              std::atomic<SaveStep>::is_always_lock_free);
static_assert(sizeof(ControlHeader) <= kPageSize);

// Working memory of one saver, which owns it while it runs. All buffers are page-aligned.
struct SaverBuffers {
  std::byte* bounce = nullptr;     // one chunk of frozen bytes
  std::byte* packed = nullptr;     // one chunk of encoded blocks to write to a packed file
  std::byte* workspace = nullptr;  // of the compressor
  std::byte* stack_end = nullptr;  // stack of a saver that is a bare thread of a forked child
};

// Number of savers, and the encoding that determines what each of them needs.
struct SaverNeeds {
  uint32_t savers = 1;
  Encoding encoding;
};

inline constexpr uint32_t kMaxSavers = 8;

class ControlBlock {
 public:
  static Result<ControlBlock> Create(uint64_t block_count, const SaverNeeds& needs = {});

  ControlHeader* header() const { return reinterpret_cast<ControlHeader*>(mapping_.data()); }
  BlockEntry* index() const { return reinterpret_cast<BlockEntry*>(mapping_.data() + kPageSize); }
  // kPagesPerBlock sums for each block. In a delta they are those of the parent once
  // header()->sums_ready is set, until the saver of a block replaces them with those of the block.
  PageSum* sums() const {
    return reinterpret_cast<PageSum*>(mapping_.data() + SumsOffset(block_count_));
  }
  // For each block of a delta, the pages that are the same in the parent as in the frame that the
  // source was mapped from. Set together with the sums.
  uint64_t* as_mapped() const {
    return reinterpret_cast<uint64_t*>(mapping_.data() + AsMappedOffset(block_count_));
  }
  // Gives back the memory of the sums. The thread that ends a job calls it, so that this work does
  // not hold up the JS thread.
  void DropSums();
  uint64_t block_count() const { return block_count_; }
  const SaverBuffers* buffers() const { return buffers_.data(); }  // [saver_count()]
  uint32_t saver_count() const { return static_cast<uint32_t>(buffers_.size()); }

 private:
  static constexpr uint64_t SumsOffset(uint64_t block_count) {
    return kPageSize + RoundUp(block_count * sizeof(BlockEntry), kPageSize);
  }
  static constexpr uint64_t SumsLength(uint64_t block_count) {
    return RoundUp(block_count * kPagesPerBlock * sizeof(PageSum), kPageSize);
  }
  static constexpr uint64_t AsMappedOffset(uint64_t block_count) {
    return SumsOffset(block_count) + SumsLength(block_count);
  }
  static constexpr uint64_t AsMappedLength(uint64_t block_count) {
    return RoundUp(block_count * sizeof(uint64_t), kPageSize);
  }
  ControlBlock(Mapping mapping, Mapping chunks, uint64_t block_count)
      : mapping_(std::move(mapping)), chunks_(std::move(chunks)), block_count_(block_count) {}
  Mapping mapping_;
  Mapping chunks_;  // bounce and packed of each saver
  uint64_t block_count_;
  std::vector<SaverBuffers> buffers_;
};

}  // namespace stillframe
