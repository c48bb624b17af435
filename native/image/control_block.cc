#include "image/control_block.h"

#include <sys/mman.h>

#include <new>

namespace stillframe {

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
    case SaveStep::kReading:
      return "reading frozen pages";
    case SaveStep::kWriting:
      return "writing pages to the file";
    case SaveStep::kReleasing:
      return "releasing saved pages";
    case SaveStep::kRunning:
      return "running JavaScript";
    case SaveStep::kFinished:
      return "ending";
  }
  return "working";
}

Result<ControlBlock> ControlBlock::Create(uint64_t block_count) {
  const uint64_t bounce_offset = kPageSize + RoundUp(block_count * sizeof(BlockEntry), kPageSize);
  Result<Mapping> mapping =
      Mapping::Anonymous(bounce_offset + kChunkSize, MAP_SHARED, "the block index of a snapshot");
  if (!mapping.ok()) return mapping.failure();
  // The pages are zero, which is what every field starts as; this begins the object's lifetime.
  new (mapping.value().data()) ControlHeader{};
  return ControlBlock(std::move(mapping.value()), block_count, bounce_offset);
}

}  // namespace stillframe
