#include "image/read_scratch.h"

#include <sys/mman.h>

#include <utility>

#include "base/sys.h"
#include "image/format.h"
#include "memory/page.h"

namespace stillframe {

namespace {

// Size of stored(): a chunk that is extended to page boundaries of the file, with up to
// one more page at either end.
constexpr uint64_t kStoredSize = kChunkSize + 2 * kPageSize;

}  // namespace

std::byte* ReadScratch::stored() const { return memory_.data() + kChunkSize; }
std::byte* ReadScratch::dense() const { return stored() + kStoredSize; }

Result<ReadScratch> ReadScratch::Create(bool unpacks, bool whole_chunks) {
  const uint64_t workspace = unpacks ? BlockDecompressor::WorkspaceBytes() : 0;
  const uint64_t length = kChunkSize + (unpacks ? kStoredSize + kBlockSize + workspace : 0);
  Result<Mapping> memory =
      Mapping::AnonymousAligned(length, kHugePageSize, "the buffers of a reader of a snapshot");
  if (!memory.ok()) return memory.failure();
  if (whole_chunks) sys::Madvise(memory.value().data(), length, MADV_HUGEPAGE);
  ReadScratch scratch(std::move(memory.value()));
  if (unpacks) {
    scratch.decompressor_ = std::make_unique<BlockDecompressor>(scratch.dense() + kBlockSize);
  }
  return scratch;
}

}  // namespace stillframe
