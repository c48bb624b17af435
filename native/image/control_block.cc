#include "image/control_block.h"

#include <sys/mman.h>

#include <new>
#include <utility>

#include "base/sys.h"
#include "memory/page.h"

namespace stillframe {
namespace {

// Savers have shallow call stacks, and the compressor works in its own workspace. No more than a
// quarter of this has been seen in use.
constexpr uint64_t kStackBytes = uint64_t{256} << 10;

}  // namespace

const char* SaveStepName(SaveStep step) {
  switch (step) {
    case SaveStep::kNone:
      return "before the fork";
    case SaveStep::kStarting:
      return "starting";
    case SaveStep::kSignals:
      return "resetting its signals";
    case SaveStep::kWaitForParent:
      return "waiting for the parent";
    case SaveStep::kHardening:
      return "preparing itself";
    case SaveStep::kWaitForSums:
      return "waiting for the sums of the parent file";
    case SaveStep::kReading:
      return "reading frozen pages";
    case SaveStep::kWriting:
      return "writing pages to the file";
    case SaveStep::kReleasing:
      return "releasing saved pages";
    case SaveStep::kRunning:
      return "running JavaScript";
    case SaveStep::kPublishing:
      return "publishing the file";
    case SaveStep::kFinished:
      return "ending";
  }
  return "working";
}

Result<ControlBlock> ControlBlock::Create(uint64_t block_count, const SaverNeeds& needs) {
  const uint64_t small_offset = AsMappedOffset(block_count) + AsMappedLength(block_count);
  const bool packed = needs.encoding.layout == Layout::kPacked;
  const uint64_t workspace_bytes = RoundUp(CodecWorkspaceBytes(needs.encoding), kPageSize);
  const uint64_t small_bytes = workspace_bytes + kStackBytes;
  const uint64_t chunk_bytes = kChunkSize + (packed ? kChunkSize : 0);
  Result<Mapping> mapping = Mapping::Anonymous(small_offset + needs.savers * small_bytes,
                                               MAP_SHARED, "the block index of a snapshot");
  if (!mapping.ok()) return mapping.failure();
  Result<Mapping> chunks = Mapping::AnonymousAligned(needs.savers * chunk_bytes, kHugePageSize,
                                                     "the buffers of the savers");
  if (!chunks.ok()) return chunks.failure();
  if (block_count >= kBlocksPerChunk) {
    sys::Madvise(chunks.value().data(), chunks.value().length(), MADV_HUGEPAGE);
  }
  // The pages are zero, which is the initial value of every field. This only begins
  // the lifetime of the object.
  new (mapping.value().data()) ControlHeader{};
  ControlBlock block(std::move(mapping.value()), std::move(chunks.value()), block_count);
  std::byte* small = block.mapping_.data() + small_offset;
  std::byte* chunk = block.chunks_.data();
  const auto take = [](std::byte** from, uint64_t bytes) {
    return std::exchange(*from, *from + bytes);
  };
  for (uint32_t i = 0; i < needs.savers; i++) {
    SaverBuffers buffers;
    buffers.bounce = take(&chunk, kChunkSize);
    if (packed) buffers.packed = take(&chunk, kChunkSize);
    if (workspace_bytes > 0) buffers.workspace = take(&small, workspace_bytes);
    buffers.stack_end = take(&small, kStackBytes) + kStackBytes;
    block.buffers_.push_back(buffers);
  }
  return block;
}

void ControlBlock::DropSums() {
  if (block_count_ > 0) sys::Madvise(sums(), SumsLength(block_count_), MADV_REMOVE);
}

}  // namespace stillframe
