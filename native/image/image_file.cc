#include "image/image_file.h"

#include <algorithm>
#include <utility>

#include "image/file_source.h"
#include "image/gap_check.h"
#include "image/image_opener.h"
#include "image/image_sweep.h"
#include "image/read_failure.h"

namespace stillframe {

Result<ImageFile> ImageFile::Open(const std::string& path, const ReadLimits& limits) {
  Result<std::unique_ptr<FileSource>> source = FileSource::Open(path);
  if (!source.ok()) return source.failure();
  return Open(std::move(source.value()), limits);
}

Result<ImageFile> ImageFile::Open(std::unique_ptr<ByteSource> source, const ReadLimits& limits) {
  return ImageOpener(std::move(source), limits).Open();
}

Result<ReadScratch> ImageFile::MakeScratch() const {
  return ReadScratch::Create(!layout_->mappable());
}

Status ImageFile::ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                             Check check, Scratch* scratch) const {
  return layout_->ReadBlocks(*this, section, first, count, out, check, scratch);
}

bool ImageFile::AllZero(uint32_t section, uint64_t first, uint64_t count) const {
  const BlockEntry* entries = EntriesOf(sections_[section]) + first;
  return std::all_of(entries, entries + count,
                     [](const BlockEntry& entry) { return StateOf(entry) == BlockState::kZero; });
}

Status ImageFile::CheckGapsOfChunk(uint32_t section, uint64_t first, uint64_t count,
                                   Scratch* scratch) const {
  return layout_->CheckGapsOfChunk(*this, section, first, count, scratch);
}

Status ImageFile::CheckOuterGaps(Scratch* scratch) const {
  Status zeros = CheckZeros(*source_, kPageSize, kPartAlignment - kPageSize, "", scratch);
  return zeros.ok() ? layout_->CheckOuterGaps(*this, scratch) : zeros;
}

Result<std::vector<ImageProblem>> ImageFile::Verify(size_t max_problems,
                                                    ReadControl* control) const {
  return ImageSweep(*this).Run(ImageSweep::Extent::kFile, Check::kChecksums, max_problems, control);
}

Status ImageFile::ReadSection(uint32_t section_index, Check check, const Deliver& deliver,
                              ReadControl* control) const {
  const Section& section = sections_[section_index];
  Result<Scratch> scratch = MakeScratch();
  if (!scratch.ok()) return scratch.failure();
  std::byte* chunk = scratch.value().chunk();
  for (uint64_t block = 0; block < section.block_count; block += kBlocksPerChunk) {
    if (control->cancelled) return ReadingAborted();
    const uint64_t count = std::min(kBlocksPerChunk, section.block_count - block);
    Status read = ReadBlocks(section_index, block, count, chunk, check, &scratch.value());
    if (!read.ok()) return read;
    const uint64_t offset = block * kBlockSize;
    const uint64_t length = std::min(kChunkSize, section.byte_length - offset);
    if (Status delivered = deliver(offset, chunk, length); !delivered.ok()) return delivered;
    control->bytes_done += length;
  }
  return Success{};
}

}  // namespace stillframe
