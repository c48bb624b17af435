// The only channel between whoever saves pages (a thread or a forked child) and everybody else: one
// MAP_SHARED block made before the freeze.
//
//   | ControlHeader | BlockEntry[block_count] = the index of the file | PageSum[block_count][kPagesPerBlock] |
//   SaverBuffers of each saver |
//
// No pipe, no message, no waiting: progress and errors are read where they stand, and a dead child
// loses nothing that the parent needs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mapping.h"
#include "image/encoding.h"
#include "image/format.h"

namespace stillframe {

// What a saver was doing when it failed or died; SaveStepName() gives the words.
enum class SaveStep : uint32_t {
  kNone = 0,
  kStarting,       // the child has been forked
  kSignals,        // its dispositions and mask
  kWaitForParent,  // until the parent has opened what it will not be allowed to open later
  kHardening,      // OOM score, dumpable, descriptors, name
  kWaitForSums,    // until the parent of a delta has been read
  kReading,        // copying frozen pages; a source that is not readable ends here
  kWriting,        // pwrite to the target file
  kReleasing,      // giving saved pages back
  kRunning,        // a forked copy that runs JavaScript: in the callback, or walking the heap
  kPublishing,     // a forked copy that publishes its file itself
  kFinished,
};
const char* SaveStepName(SaveStep step);

struct ControlHeader {
  // Written by the saver, read by the parent.
  std::atomic<uint64_t> heartbeat;      // grows with every block
  std::atomic<uint64_t> bytes_done;     // logical bytes that are saved
  std::atomic<uint64_t> bytes_written;  // bytes handed to the file
  std::atomic<uint64_t> zero_pages;
  std::atomic<uint64_t> changed_pages;  // that are not as in the parent; without one: all
  std::atomic<uint64_t> scanned_bytes;  // that were read
  std::atomic<uint64_t> next_chunk;     // the next one that a saver takes
  std::atomic<uint64_t> file_tail;      // where the next blocks of a packed file go
  std::atomic<int64_t>
      next_write_ns;  // of the monotonic clock: when the rate limit allows the next write
  std::atomic<uint32_t> helpers;  // a futex: savers at work beside the first one
  std::atomic<SaveStep> step;
  // The error slot, for the first saver that fails. error_number is stored last: once it is not 0 the other two hold.
  std::atomic<uint32_t> error_taken;
  std::atomic<SaveStep> error_step;
  std::atomic<uint64_t> error_offset;
  std::atomic<int32_t> error_number;
  // Written by the parent, read by the saver.
  std::atomic<uint32_t> abort_requested;
  std::atomic<uint32_t> parent_ready;  // a futex: the child may stop being readable by the parent
  std::atomic<uint32_t> sums_ready;    // a futex: of a delta, the sums are those of the parent
};
static_assert(std::atomic<uint64_t>::is_always_lock_free &&
              std::atomic<SaveStep>::is_always_lock_free);
static_assert(sizeof(ControlHeader) <= kPageSize);

// What one saver works in, its own as long as it runs. All page-aligned.
struct SaverBuffers {
  std::byte* bounce = nullptr;     // one chunk: frozen bytes
  std::byte* packed = nullptr;     // one chunk: encoded blocks on their way to a packed file
  std::byte* workspace = nullptr;  // the compressor's
  std::byte* stack_end = nullptr;  // of a saver that is a bare thread of a forked child
};

// How many savers, and what each needs.
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
  // kPagesPerBlock for each block. In a delta the parent's, once header()->sums_ready is set; whoever saves a block puts its
  // own in their place.
  PageSum* sums() const {
    return reinterpret_cast<PageSum*>(mapping_.data() + SumsOffset(block_count_));
  }
  // Of a delta, for each block: the pages that are in the parent as they are in the frame that the source was mapped from.
  // Set with the sums.
  uint64_t* as_mapped() const {
    return reinterpret_cast<uint64_t*>(mapping_.data() + AsMappedOffset(block_count_));
  }
  // Gives back the memory of the sums. Whoever ends a job does it here, so that it does not hold up the JS thread.
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
  ControlBlock(Mapping mapping, uint64_t block_count)
      : mapping_(std::move(mapping)), block_count_(block_count) {}
  Mapping mapping_;
  uint64_t block_count_;
  std::vector<SaverBuffers> buffers_;
};

}  // namespace stillframe
