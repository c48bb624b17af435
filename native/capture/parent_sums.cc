#include "capture/parent_sums.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "image/file_source.h"
#include "image/image_file.h"
#include "image/page_sums.h"
#include "image/parent_search.h"
#include "image/read_failure.h"

namespace stillframe {
namespace {

Failure ParentFailure(const std::string& path, const Failure& reason) {
  if (reason.code == FailureCode::kParent || reason.code == FailureCode::kAborted) return reason;
  Failure failure = reason;
  failure.code = FailureCode::kParent;
  failure.message = "cannot build on " + path + ": " + reason.message;
  return failure;
}

class SumsReader {
 public:
  SumsReader(const ParentRequest& request, const ImageFile& parent)
      : request_(request), parent_(parent) {}
  Status ReadSection(uint32_t index) const;

 private:
  Status ReadChunk(const SaveSection& section, uint32_t in_parent, uint64_t first,
                   uint64_t count) const;
  // The frame of the parent's chain from which all of the source was mapped; null if there is none.
  const ImageFile* MappedFrame(const SaveSection& section, uint32_t in_parent) const;
  PageSum* SumsOf(const SaveSection& section, uint64_t block) const {
    return request_.sums + (section.first_entry + block) * kPagesPerBlock;
  }
  const ParentRequest& request_;
  const ImageFile& parent_;
};

Status SumsReader::ReadSection(uint32_t index) const {
  const SaveSection& section = request_.layout->sections[index];
  const auto& sections = parent_.sections();
  const auto found = std::find_if(sections.begin(), sections.end(), [&](const auto& candidate) {
    return candidate.name == request_.image->sections[index].name;
  });
  const uint64_t blocks = BlockCount(section.byte_length);
  const uint64_t shared = found == sections.end() ? 0 : std::min(blocks, found->block_count);
  std::fill(SumsOf(section, shared), SumsOf(section, blocks), kUnknownPage);
  const auto in_parent = static_cast<uint32_t>(found - sections.begin());
  for (uint64_t first = 0; first < shared; first += kBlocksPerChunk) {
    if (request_.cancelled()) return ReadingAborted();
    const uint64_t count = std::min(kBlocksPerChunk, shared - first);
    if (Status read = ReadChunk(section, in_parent, first, count); !read.ok()) return read;
  }
  return Success{};
}

Status SumsReader::ReadChunk(const SaveSection& section, uint32_t in_parent, uint64_t first,
                             uint64_t count) const {
  Status read = parent_.ReadSumsOfChunk(in_parent, first, count, SumsOf(section, first));
  if (!read.ok()) return read;
  // The last block of the section in the parent may have fewer pages.
  const uint64_t last = first + count - 1;
  const uint64_t length = parent_.sections()[in_parent].byte_length;
  PageSum* sums = SumsOf(section, last);
  std::fill(sums + PaddedBlockLength(length, last) / kPageSize, sums + kPagesPerBlock,
            kUnknownPage);
  const ImageFile* frame = MappedFrame(section, in_parent);
  if (frame == nullptr) return Success{};
  for (uint64_t block = first; block < first + count; block++) {
    request_.as_mapped[section.first_entry + block] = ~parent_.PagesAbove(*frame, in_parent, block);
  }
  return Success{};
}

// The section must have the same length in that frame, which excludes sources that are a part of a
// region.
const ImageFile* SumsReader::MappedFrame(const SaveSection& section, uint32_t in_parent) const {
  const auto index = static_cast<size_t>(&section - request_.layout->sections.data());
  if (index >= request_.mapped_from.size() || !request_.mapped_from[index]) return nullptr;
  const MappedSection& from = *request_.mapped_from[index];
  const ImageFile* frame = parent_.FrameOf(from.frame.data());
  if (frame == nullptr) return nullptr;
  const ImageFile::Section* in_frame = parent_.InFrame(*frame, in_parent);
  const bool same = in_frame != nullptr && in_frame->name == from.name &&
                    in_frame->byte_length == section.byte_length &&
                    parent_.sections()[in_parent].byte_length == section.byte_length;
  return same ? frame : nullptr;
}

Result<ParentMark> Read(const ParentRequest& request) {
  Result<ImageFile> opened = OpenFrame(request.path, request.places, {});
  if (!opened.ok()) return opened.failure();
  const ImageFile& parent = opened.value();
  if (request.id && memcmp(parent.header().id, request.id->data(), request.id->size()) != 0) {
    return Fail(FailureCode::kParent,
                request.path + " is another snapshot by now than the one to build on");
  }
  if (IsOfChain(parent, request.target_path)) {
    return Fail(FailureCode::kParent,
                "a snapshot cannot take the place of one that it builds on; give it another path");
  }
  for (const ImageFile* file = &parent; file != nullptr; file = file->parent()) {
    if (request.cancelled()) return ReadingAborted();
    if (Status sums = file->CheckSums(); !sums.ok()) return sums.failure();
  }
  const SumsReader reader(request, parent);
  for (uint32_t i = 0; i < request.layout->sections.size(); i++) {
    if (Status read = reader.ReadSection(i); !read.ok()) return read.failure();
  }
  ParentMark mark;
  memcpy(mark.id.data(), parent.header().id, mark.id.size());
  mark.state = parent.trailer().state;
  return mark;
}

}  // namespace

std::optional<std::array<uint8_t, 16>> IdOfFile(const std::string& path) {
  Result<std::unique_ptr<FileSource>> file = FileSource::Open(path);
  if (!file.ok()) return std::nullopt;
  FileHeader header{};
  Status read = file.value()->Read(reinterpret_cast<std::byte*>(&header), sizeof header, 0, "");
  if (!read.ok() || memcmp(header.magic, kHeaderMagic, sizeof kHeaderMagic) != 0) {
    return std::nullopt;
  }
  std::array<uint8_t, 16> id{};
  memcpy(id.data(), header.id, id.size());
  return id;
}

Result<ParentMark> ReadParentSums(const ParentRequest& request) {
  Result<ParentMark> mark = Read(request);
  if (!mark.ok()) return ParentFailure(request.path, mark.failure());
  return mark;
}

}  // namespace stillframe
