#include "image/tail.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/mapping.h"
#include "image/checksum.h"
#include "image/page_sums.h"

namespace stillframe {
namespace {

// The tail is assembled and written in windows of this many bytes.
constexpr uint64_t kWindow = uint64_t{1} << 20;

Status WritePart(ByteSink* sink, const std::byte* bytes, uint64_t length, uint64_t offset,
                 const char* doing) {
  uint64_t done = 0;
  while (done < length) {
    const int64_t wrote = sink->Write(bytes + done, length - done, offset + done);
    if (wrote < 0) return SystemFailure("pwrite", static_cast<int>(-wrote), doing);
    done += static_cast<uint64_t>(wrote);
  }
  return Success{};
}

// Stores the struct in a page, with the checksum of the page. The checksum field must
// still be zero.
template <typename Struct>
void Seal(std::byte* page, Struct* fields) {
  memcpy(page, fields, sizeof *fields);
  fields->checksum = Checksum(page, kPageSize);
  memcpy(page, fields, sizeof *fields);
}

// Writes contiguous bytes of the file, and computes the checksum of each part.
class TailWriter {
 public:
  // `window` has kWindow bytes and is page-aligned.
  TailWriter(ByteSink* sink, std::byte* window, uint64_t offset)
      : sink_(sink), window_(window), written_(offset) {}

  uint64_t offset() const { return written_ + used_; }
  void BeginPart() { checksum_.emplace(); }
  uint64_t PartChecksum() const { return checksum_->Value(); }
  // After a failure further calls have no effect, and Finish() returns the failure.
  void Append(const void* bytes, uint64_t length);
  // Appends zeros up to the next page boundary.
  void Pad();
  Status Finish();

 private:
  void Flush();
  ByteSink* const sink_;
  std::byte* const window_;
  uint64_t written_;
  uint64_t used_ = 0;
  std::optional<RunningChecksum> checksum_;
  Status status_ = Success{};
};

void TailWriter::Append(const void* bytes, uint64_t length) {
  if (length == 0) return;
  checksum_->Update(bytes, length);
  const auto* from = static_cast<const std::byte*>(bytes);
  while (length > 0) {
    const uint64_t count = std::min(length, kWindow - used_);
    memcpy(window_ + used_, from, count);
    used_ += count;
    from += count;
    length -= count;
    if (used_ == kWindow) Flush();
  }
}

void TailWriter::Pad() {
  const uint64_t padded = RoundUp(used_, kPageSize);
  memset(window_ + used_, 0, padded - used_);
  used_ = padded;
}

void TailWriter::Flush() {
  if (status_.ok()) {
    status_ = WritePart(sink_, window_, used_, written_, "cannot write the index of the file");
  }
  written_ += std::exchange(used_, 0);
}

Status TailWriter::Finish() {
  Flush();
  return status_;
}

void FillHeader(const ImageDescription& image, const ImageLayout& layout, std::byte* page) {
  FileHeader header{};
  memcpy(header.magic, kHeaderMagic, sizeof header.magic);
  header.version_major = kVersionMajor;
  header.version_minor = kVersionMinor;
  header.header_length = kPageSize;
  memcpy(header.id, image.id.data(), sizeof header.id);
  if (image.parent) {
    memcpy(header.parent_id, image.parent->id.data(), sizeof header.parent_id);
    header.parent_state = image.parent->state;
  }
  header.layout = layout.layout;
  header.page_size = kPageSize;
  header.block_size = kBlockSize;
  header.frozen_at_ns = image.frozen_at_ns;
  memset(page, 0, kPageSize);
  Seal(page, &header);
}

// Writes the tail of one file, part by part.
class Tail {
 public:
  Tail(const ImageDescription& image, const ImageLayout& layout, const SavedBlocks& saved,
       TailWriter* out)
      : image_(image), layout_(layout), saved_(saved), out_(out) {}
  // Returns the length of the file.
  Result<uint64_t> Write();

 private:
  bool IsListed(uint64_t block) const {
    const BlockEntry& entry = saved_.index[block];
    return !image_.parent || (entry.present | entry.zero) != 0;
  }
  void WriteIndex();
  void WriteSums();
  void WriteSections();
  void WriteMetadata();
  void WriteTrailer();

  const ImageDescription& image_;
  const ImageLayout& layout_;
  const SavedBlocks& saved_;
  TailWriter* const out_;
  FileTrailer trailer_{};
  std::vector<SectionRecord> records_;
};

// Also fills in the section records, and the state, which is the sum of all memory.
void Tail::WriteIndex() {
  trailer_.index_offset = out_->offset();
  out_->BeginPart();
  StateSum state;
  for (uint32_t i = 0; i < layout_.sections.size(); i++) {
    const SaveSection& section = layout_.sections[i];
    SectionRecord record{};
    record.byte_length = section.byte_length;
    record.data_offset = section.data_offset;
    record.first_entry = trailer_.index_count;
    const uint64_t count = BlockCount(section.byte_length);
    for (uint64_t block = 0; block < count; block++) {
      const uint64_t at = section.first_entry + block;
      state.Add(i, block, saved_.sums + at * kPagesPerBlock);
      if (!IsListed(at)) continue;
      out_->Append(&saved_.index[at], sizeof(BlockEntry));
      record.entry_count++;
    }
    trailer_.index_count += record.entry_count;
    records_.push_back(record);
  }
  trailer_.index_checksum = out_->PartChecksum();
  trailer_.state = state.value();
}

void Tail::WriteSums() {
  out_->BeginPart();
  for (uint64_t at = 0; at < layout_.block_count; at++) {
    for (uint64_t left = saved_.index[at].present; left != 0; left &= left - 1) {
      const auto page = static_cast<uint64_t>(std::countr_zero(left));
      out_->Append(&saved_.sums[at * kPagesPerBlock + page], sizeof(PageSum));
      trailer_.sum_count++;
    }
  }
  trailer_.sums_checksum = out_->PartChecksum();
}

void Tail::WriteSections() {
  trailer_.sections_offset = out_->offset();
  trailer_.section_count = records_.size();
  out_->BeginPart();
  for (size_t i = 0; i < records_.size(); i++) {
    records_[i].name_offset = static_cast<uint32_t>(trailer_.names_length);
    records_[i].name_length = static_cast<uint32_t>(image_.sections[i].name.size());
    trailer_.names_length += records_[i].name_length;
    out_->Append(&records_[i], sizeof records_[i]);
  }
  for (const auto& section : image_.sections)
    out_->Append(section.name.data(), section.name.size());
  trailer_.sections_checksum = out_->PartChecksum();
}

void Tail::WriteMetadata() {
  trailer_.metadata_offset = out_->offset();
  trailer_.metadata_length = image_.metadata.size();
  out_->BeginPart();
  out_->Append(image_.metadata.data(), image_.metadata.size());
  trailer_.metadata_checksum = out_->PartChecksum();
  out_->Pad();
}

// Must be the last part, because it has the checksums of the others.
void Tail::WriteTrailer() {
  memcpy(trailer_.magic, kTrailerMagic, sizeof trailer_.magic);
  memcpy(trailer_.id, image_.id.data(), sizeof trailer_.id);
  trailer_.file_length = out_->offset() + kPageSize;
  std::byte page[kPageSize] = {};
  Seal(page, &trailer_);
  out_->Append(page, sizeof page);
}

Result<uint64_t> Tail::Write() {
  WriteIndex();
  if (image_.expected_state && trailer_.state != *image_.expected_state) {
    return Fail(FailureCode::kCorrupt,
                "the files do not add up to the memory that was frozen; nothing was written");
  }
  WriteSums();
  WriteSections();
  WriteMetadata();
  WriteTrailer();
  if (Status wrote = out_->Finish(); !wrote.ok()) return wrote.failure();
  return trailer_.file_length;
}

}  // namespace

Result<uint64_t> WriteHeaderAndTail(ByteSink* sink, const ImageDescription& image,
                                    const ImageLayout& layout, const SavedBlocks& saved,
                                    uint64_t tail_offset) {
  Result<Mapping> window = Mapping::Anonymous(kWindow, MAP_PRIVATE, "the tail of a snapshot file");
  if (!window.ok()) return window.failure();
  TailWriter out(sink, window.value().data(), tail_offset);
  Result<uint64_t> length = Tail(image, layout, saved, &out).Write();
  if (!length.ok()) return length;
  FillHeader(image, layout, window.value().data());
  Status wrote =
      WritePart(sink, window.value().data(), kPageSize, 0, "cannot write the header of the file");
  if (!wrote.ok()) return wrote.failure();
  return length;
}

}  // namespace stillframe
