#include "image/image_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "image/checksum.h"
#include "image/control_block.h"
#include "image/saver.h"
#include "image/tail.h"
#include "image/utf8.h"
#include "image/zero_page.h"

namespace stillframe {
namespace {

constexpr uint64_t kWindow = uint64_t{1} << 20;

Failure Corrupt(uint64_t offset, std::string section, std::string reason) {
  Failure failure;
  failure.code = FailureCode::kCorrupt;
  failure.message = std::move(reason);
  failure.offset = static_cast<int64_t>(offset);
  failure.section = std::move(section);
  return failure;
}

Failure Plain(FailureCode code, std::string message) {
  Failure failure;
  failure.code = code;
  failure.message = std::move(message);
  return failure;
}

// Checks the checksum of a page that ends in a struct's checksum field.
template <typename Struct>
bool SealHolds(std::byte* page, const Struct& fields) {
  memset(page + offsetof(Struct, checksum), 0, sizeof fields.checksum);
  return Checksum(page, kPageSize) == fields.checksum;
}

Failure Cancelled() { return Plain(FailureCode::kAborted, "the reading was aborted"); }

}  // namespace

Result<ImageFile> ImageFile::Open(const std::string& path) {
  ImageFile image;
  // Not blocking: opening a FIFO would otherwise wait for a writer.
  const int fd = sys::Open(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
  if (fd < 0) return SystemFailure("open", -fd, "cannot open the snapshot file");
  image.file_.Reset(fd);
  struct stat about {};
  if (const int error = sys::Fstat(fd, &about); error < 0) {
    return SystemFailure("fstat", -error, "cannot examine the snapshot file");
  }
  if (S_ISDIR(about.st_mode)) {
    return SystemFailure("open", EISDIR, "this is a directory, not a snapshot file");
  }
  if (!S_ISREG(about.st_mode)) {
    return Plain(FailureCode::kFormat, "this is not a regular file, so it is no snapshot");
  }
  image.actual_length_ = static_cast<uint64_t>(about.st_size);
  image.allocated_bytes_ = static_cast<uint64_t>(about.st_blocks) * 512;

  Status status = image.ReadHeader();
  if (status.ok()) status = image.ReadTrailer();
  if (status.ok()) status = image.ReadSections();
  if (status.ok()) status = image.ReadIndex();
  if (!status.ok()) return status.failure();
  return image;
}

Status ImageFile::ReadExactly(std::byte* out, uint64_t length, uint64_t offset,
                              const std::string& section) const {
  uint64_t done = 0;
  while (done < length) {
    const int64_t got = sys::Pread(file_.get(), out + done, length - done, offset + done);
    if (got == -EINTR) continue;
    if (got < 0)
      return SystemFailure("pread", static_cast<int>(-got), "cannot read the snapshot file");
    if (got == 0) return Corrupt(offset + done, section, "the file ends here: it is truncated");
    done += static_cast<uint64_t>(got);
  }
  return Success{};
}

Status ImageFile::ReadHeader() {
  std::byte page[kPageSize];
  const uint64_t have = std::min(actual_length_, kPageSize);
  if (Status read = ReadExactly(page, have, 0, ""); !read.ok()) return read;
  if (have < sizeof kHeaderMagic || memcmp(page, kHeaderMagic, sizeof kHeaderMagic) != 0) {
    return Plain(FailureCode::kFormat,
                 have == 0 ? "the file is empty, so it is no snapshot"
                           : "this is not a stillframe snapshot (its first bytes are others)");
  }
  if (have < kPageSize) return Corrupt(have, "", "the file ends in its header: it is truncated");
  memcpy(&header_, page, sizeof header_);
  // The header page and its checksum are the same in all versions, so that the version can be trusted.
  if (!SealHolds(page, header_)) return Corrupt(0, "", "the header does not match its checksum");
  if (header_.version_major > kVersionMajor) {
    return Plain(FailureCode::kVersion,
                 "the file has format version " + std::to_string(header_.version_major) + "." +
                     std::to_string(header_.version_minor) + ", this release reads up to " +
                     std::to_string(kVersionMajor) + "; update stillframe");
  }
  if (header_.layout != Layout::kFlat) {
    return Plain(FailureCode::kVersion,
                 "the file has layout " + std::to_string(static_cast<uint32_t>(header_.layout)) +
                     ", which this release does not read; update stillframe");
  }
  const uint8_t no_parent[sizeof header_.parent_id] = {};
  if (memcmp(header_.parent_id, no_parent, sizeof no_parent) != 0) {
    return Plain(
        FailureCode::kVersion,
        "the file builds on another one, which this release does not read; update stillframe");
  }
  if (header_.version_major == 0 || header_.header_length != kPageSize ||
      header_.page_size != kPageSize || header_.block_size != kBlockSize) {
    return Corrupt(0, "", "the header has sizes that no version of the format has");
  }
  return Success{};
}

Status ImageFile::ReadTrailer() {
  const uint64_t smallest = kPartAlignment + sizeof(SectionRecord) + kPageSize;
  if (actual_length_ < smallest || actual_length_ % kPageSize != 0) {
    return Corrupt(actual_length_, "", "the file is shorter or longer than it was written");
  }
  const uint64_t at = actual_length_ - kPageSize;
  std::byte page[kPageSize];
  if (Status read = ReadExactly(page, kPageSize, at, ""); !read.ok()) return read;
  memcpy(&trailer_, page, sizeof trailer_);
  if (memcmp(trailer_.magic, kTrailerMagic, sizeof kTrailerMagic) != 0) {
    return Corrupt(at, "",
                   "there is no trailer at the end: the file is truncated, or bytes were added");
  }
  if (!SealHolds(page, trailer_)) return Corrupt(at, "", "the trailer does not match its checksum");
  if (trailer_.file_length != actual_length_) {
    return Corrupt(at, "", "the file is shorter or longer than it was written");
  }
  if (memcmp(trailer_.id, header_.id, sizeof header_.id) != 0) {
    return Corrupt(at, "", "header and trailer belong to different files");
  }
  return Success{};
}

Status ImageFile::ReadSections() {
  const uint64_t trailer_at = trailer_.file_length - kPageSize;
  // The parts of the tail lie one behind the other; each length is bounded before it is added.
  const bool counts_bounded =
      trailer_.section_count >= 1 && trailer_.section_count <= kMaxSections &&
      trailer_.names_length <= trailer_.section_count * kMaxNameLength &&
      trailer_.metadata_length <= kMaxMetadataLength && trailer_.index_count <= kMaxSectionLength;
  if (!counts_bounded) return Corrupt(trailer_at, "", "the trailer has counts beyond all limits");
  const uint64_t records_length = trailer_.section_count * sizeof(SectionRecord);
  const uint64_t index_length = trailer_.index_count * sizeof(BlockEntry);
  const bool in_order =
      trailer_.index_offset % kPartAlignment == 0 && trailer_.index_offset >= kPartAlignment &&
      trailer_.index_offset <= trailer_at && index_length <= trailer_at - trailer_.index_offset &&
      trailer_.sections_offset == trailer_.index_offset + index_length &&
      trailer_.metadata_offset ==
          trailer_.sections_offset + records_length + trailer_.names_length &&
      RoundUp(trailer_.metadata_offset + trailer_.metadata_length, kPageSize) == trailer_at;
  if (!in_order) return Corrupt(trailer_at, "", "the trailer does not describe this file");

  std::string bytes(records_length + trailer_.names_length, '\0');
  const uint64_t at = trailer_.sections_offset;
  Status read = ReadExactly(reinterpret_cast<std::byte*>(bytes.data()), bytes.size(), at, "");
  if (!read.ok()) return read;
  if (Checksum(bytes.data(), bytes.size()) != trailer_.sections_checksum) {
    return Corrupt(at, "", "the section table does not match its checksum");
  }
  std::vector<ImageDescription::Section> described;
  std::vector<SectionRecord> records(trailer_.section_count);
  std::set<std::string> names;
  uint64_t name_offset = 0;
  for (size_t i = 0; i < records.size(); i++) {
    const uint64_t record_at = at + i * sizeof(SectionRecord);
    SectionRecord& record = records[i];
    memcpy(&record, bytes.data() + i * sizeof record, sizeof record);
    if (record.name_length == 0 || record.name_length > kMaxNameLength ||
        record.name_offset != name_offset ||
        record.name_length > trailer_.names_length - name_offset) {
      return Corrupt(record_at, "", "a section's name lies outside of the names");
    }
    std::string name = bytes.substr(records_length + name_offset, record.name_length);
    name_offset += record.name_length;
    if (!IsUtf8WithoutNul(name)) return Corrupt(record_at, "", "a section's name is not UTF-8");
    if (!names.insert(name).second)
      return Corrupt(record_at, name, "two sections have the same name");
    if (record.byte_length > kMaxSectionLength) {
      return Corrupt(record_at, name, "the section is larger than an address space");
    }
    described.push_back({std::move(name), record.byte_length});
  }
  if (name_offset != trailer_.names_length)
    return Corrupt(at, "", "there are names without a section");

  // A flat file has no freedom: everything lies where a writer would put it.
  const ImageLayout layout = PlanLayout(described);
  if (layout.data_end != trailer_.index_offset || layout.block_count != trailer_.index_count) {
    return Corrupt(trailer_at, "", "sections and index do not fit together");
  }
  for (size_t i = 0; i < records.size(); i++) {
    const SectionRecord& record = records[i];
    const SaveSection& planned = layout.sections[i];
    if (record.data_offset != planned.data_offset || record.first_entry != planned.first_entry ||
        record.block_count != BlockCount(record.byte_length)) {
      return Corrupt(at + i * sizeof record, described[i].name, "the section lies where it cannot");
    }
    sections_.push_back({std::move(described[i].name), record.byte_length, record.data_offset,
                         record.first_entry, record.block_count, 0});
  }

  metadata_.resize(trailer_.metadata_length);
  read = ReadExactly(reinterpret_cast<std::byte*>(metadata_.data()), metadata_.size(),
                     trailer_.metadata_offset, "");
  if (!read.ok()) return read;
  if (Checksum(metadata_.data(), metadata_.size()) != trailer_.metadata_checksum) {
    return Corrupt(trailer_.metadata_offset, "", "the metadata does not match its checksum");
  }
  if (!IsUtf8WithoutNul(metadata_))
    return Corrupt(trailer_.metadata_offset, "", "the metadata is not UTF-8");
  std::vector<std::byte> scratch;
  const uint64_t end = trailer_.metadata_offset + trailer_.metadata_length;
  return CheckZeros(end, trailer_at - end, "", &scratch);
}

Status ImageFile::ReadIndex() {
  const uint64_t length = trailer_.index_count * sizeof(BlockEntry);
  if (length > 0) {
    // Each entry holds its own position, so no page of an index is zero: a hole in it is the mark of a file
    // that claims more than it has. (A filesystem that cannot tell says that there is none.)
    const int64_t hole =
        sys::Lseek(file_.get(), static_cast<int64_t>(trailer_.index_offset), SEEK_HOLE);
    if (hole >= 0 && static_cast<uint64_t>(hole) < trailer_.index_offset + length) {
      return Corrupt(static_cast<uint64_t>(hole), "", "the index has a hole");
    }
    // Address space only; pages come as windows are read.
    Result<Mapping> mapping =
        Mapping::Anonymous(length, MAP_PRIVATE | MAP_NORESERVE, "the index of a file");
    if (!mapping.ok()) return mapping.failure();
    index_ = std::move(mapping.value());
  }
  RunningChecksum checksum;
  size_t section = 0;
  uint64_t checked = 0;  // entries
  for (uint64_t done = 0; done < length;) {
    const uint64_t window = std::min(kWindow, length - done);
    Status read = ReadExactly(index_.data() + done, window, trailer_.index_offset + done, "");
    if (!read.ok()) return read;
    checksum.Update(index_.data() + done, window);
    done += window;
    for (; (checked + 1) * sizeof(BlockEntry) <= done; checked++) {
      while (checked - sections_[section].first_entry == sections_[section].block_count) section++;
      const auto& entry = reinterpret_cast<const BlockEntry*>(index_.data())[checked];
      Status valid = CheckEntry(entry, static_cast<uint32_t>(section),
                                checked - sections_[section].first_entry);
      if (!valid.ok()) return valid;
      sections_[section].stored_bytes += entry.stored_length;
    }
  }
  if (checksum.Value() != trailer_.index_checksum) {
    return Corrupt(trailer_.index_offset, "", "the index does not match its checksum");
  }
  return Success{};
}

Status ImageFile::CheckEntry(const BlockEntry& entry, uint32_t section, uint64_t block) const {
  const Section& in = sections_[section];
  const uint64_t length = PaddedBlockLength(in.byte_length, block);
  const uint64_t pages = length / kPageSize;
  const uint64_t all = pages == kPagesPerBlock ? ~uint64_t{0} : (uint64_t{1} << pages) - 1;
  const bool stored = entry.present != 0;
  const bool holds =
      entry.section == section && entry.block == block && (entry.present & ~all) == 0 &&
      entry.codec == Codec::kNone && entry.reserved == 0 &&
      entry.file_offset == (stored ? in.data_offset + block * kBlockSize : 0) &&
      entry.stored_length == (stored ? length : 0) && (stored || entry.checksum == 0);
  if (holds) return Success{};
  return Corrupt(
      trailer_.index_offset + (in.first_entry + block) * sizeof(BlockEntry), in.name,
      "the index entry of block " + std::to_string(block) + " is not one a writer would make");
}

Status ImageFile::ReadBlocks(uint32_t section_index, uint64_t first, uint64_t count, std::byte* out,
                             Check check) const {
  const Section& section = sections_[section_index];
  const BlockEntry* entries = EntriesOf(section);
  const auto length_of = [&](uint64_t block) {
    return PaddedBlockLength(section.byte_length, block);
  };
  for (uint64_t block = first; block < first + count;) {
    std::byte* at = out + (block - first) * kBlockSize;
    if (entries[block].present == 0) {
      memset(at, 0, length_of(block));
      block++;
      continue;
    }
    // One read for a run of blocks that are stored: they lie one behind the other.
    uint64_t run_end = block;
    uint64_t run_length = 0;
    for (; run_end < first + count && entries[run_end].present != 0; run_end++)
      run_length += length_of(run_end);
    if (Status read = ReadExactly(at, run_length, entries[block].file_offset, section.name);
        !read.ok()) {
      return read;
    }
    for (; block < run_end; block++) {
      if (check == Check::kNone) continue;
      const std::byte* bytes = out + (block - first) * kBlockSize;
      if (Checksum(bytes, length_of(block)) == entries[block].checksum) continue;
      return Corrupt(entries[block].file_offset, section.name,
                     "block " + std::to_string(block) + " does not match its checksum");
    }
  }
  return Success{};
}

Status ImageFile::CheckZeros(uint64_t offset, uint64_t length, const std::string& section,
                             std::vector<std::byte>* scratch) const {
  const uint64_t end = offset + length;
  while (offset < end) {
    // Holes are zero by definition: look only at what the filesystem says is data.
    const int64_t data = sys::Lseek(file_.get(), static_cast<int64_t>(offset), SEEK_DATA);
    if (data == -ENXIO || data >= static_cast<int64_t>(end)) break;
    if (data > static_cast<int64_t>(offset)) offset = static_cast<uint64_t>(data);
    const uint64_t piece = std::min(kWindow, end - offset);
    scratch->resize(std::max<size_t>(scratch->size(), piece));
    if (Status read = ReadExactly(scratch->data(), piece, offset, section); !read.ok()) return read;
    const auto from = scratch->begin();
    const auto to = from + static_cast<int64_t>(piece);
    const auto bad = std::find_if(from, to, [](std::byte byte) { return byte != std::byte{0}; });
    if (bad != to) {
      return Corrupt(offset + static_cast<uint64_t>(bad - from), section,
                     "there are bytes where the file must be zero");
    }
    offset += piece;
  }
  return Success{};
}

Status ImageFile::CheckBlock(uint32_t section_index, uint64_t block, std::byte* bytes) const {
  const Section& section = sections_[section_index];
  const BlockEntry& entry = EntriesOf(section)[block];
  Status read = ReadBlocks(section_index, block, 1, bytes, Check::kNone);
  if (!read.ok()) return read;
  const auto damaged = [&](const char* how) {
    return Corrupt(entry.file_offset, section.name, "block " + std::to_string(block) + how);
  };
  // The same as before writing.
  const uint64_t length = PaddedBlockLength(section.byte_length, block);
  BlockEntry found{};
  EncodeBlock(bytes, length, &found);
  if (found.checksum != entry.checksum) return damaged(" does not match its checksum");
  if (found.present != entry.present) return damaged(" has other zero pages than the index says");
  const uint64_t used = std::min(length, section.byte_length - block * kBlockSize);
  const bool padded = std::all_of(bytes + used, bytes + length,
                                  [](std::byte byte) { return byte == std::byte{0}; });
  if (!padded) return damaged(" goes on behind the end of its section");
  return Success{};
}

Result<std::vector<ImageProblem>> ImageFile::Verify(size_t max_problems,
                                                    ReadControl* control) const {
  std::vector<ImageProblem> problems;
  std::vector<std::byte> scratch;
  // Damage is noted, anything else ends it.
  const auto note = [&](Status status) -> bool {
    if (status.ok()) return true;
    const Failure& failure = status.failure();
    if (failure.code != FailureCode::kCorrupt) return false;
    problems.push_back({static_cast<uint64_t>(failure.offset), failure.section, failure.message});
    return true;
  };

  uint64_t total = 0;
  for (const Section& section : sections_) total += section.byte_length;
  control->bytes_total = total;
  Status status = CheckZeros(kPageSize, kPartAlignment - kPageSize, "", &scratch);
  if (!note(status)) return status.failure();

  std::vector<std::byte> block_bytes(kBlockSize);
  for (uint32_t i = 0; i < sections_.size(); i++) {
    const Section& section = sections_[i];
    const BlockEntry* entries = EntriesOf(section);
    for (uint64_t block = 0; block < section.block_count && problems.size() < max_problems;
         block++) {
      if (control->cancelled) return Cancelled();
      const uint64_t length = PaddedBlockLength(section.byte_length, block);
      if (entries[block].present != 0) {
        status = CheckBlock(i, block, block_bytes.data());
      } else {
        status =
            CheckZeros(section.data_offset + block * kBlockSize, length, section.name, &scratch);
      }
      if (!note(status)) return status.failure();
      control->bytes_done += std::min(length, section.byte_length - block * kBlockSize);
    }
    // Between the last page of the section and what comes next.
    const uint64_t end = section.data_offset + RoundUp(section.byte_length, kPageSize);
    const uint64_t next =
        i + 1 < sections_.size() ? sections_[i + 1].data_offset : trailer_.index_offset;
    status = CheckZeros(end, next - end, "", &scratch);
    if (!note(status)) return status.failure();
  }
  if (problems.size() > max_problems) problems.resize(max_problems);
  return problems;
}

Status ImageFile::ReadSection(uint32_t section_index, Check check, const Deliver& deliver,
                              ReadControl* control) const {
  const Section& section = sections_[section_index];
  std::vector<std::byte> chunk(
      std::min(ControlBlock::kChunkSize, RoundUp(section.byte_length, kPageSize)));
  for (uint64_t block = 0; block < section.block_count; block += ControlBlock::kBlocksPerChunk) {
    if (control->cancelled) return Cancelled();
    const uint64_t count = std::min(ControlBlock::kBlocksPerChunk, section.block_count - block);
    if (Status read = ReadBlocks(section_index, block, count, chunk.data(), check); !read.ok())
      return read;
    const uint64_t offset = block * kBlockSize;
    const uint64_t length = std::min(ControlBlock::kChunkSize, section.byte_length - offset);
    if (Status delivered = deliver(offset, chunk.data(), length); !delivered.ok()) return delivered;
    control->bytes_done += length;
  }
  return Success{};
}

Status ImageFile::FillMemory(uint32_t section_index, std::byte* memory, Check check,
                             ReadControl* control) const {
  const Section& section = sections_[section_index];
  const uint64_t whole_blocks = section.byte_length / kBlockSize;
  for (uint64_t block = 0; block < whole_blocks; block += ControlBlock::kBlocksPerChunk) {
    if (control->cancelled) return Cancelled();
    const uint64_t count = std::min(ControlBlock::kBlocksPerChunk, whole_blocks - block);
    Status read = ReadBlocks(section_index, block, count, memory + block * kBlockSize, check);
    if (!read.ok()) return read;
    control->bytes_done += count * kBlockSize;
  }
  if (whole_blocks == section.block_count) return Success{};
  // The last block is padded in the file, and what lies behind the section in memory is not ours.
  std::vector<std::byte> last(kBlockSize);
  Status read = ReadBlocks(section_index, whole_blocks, 1, last.data(), check);
  if (!read.ok()) return read;
  const uint64_t rest = section.byte_length - whole_blocks * kBlockSize;
  memcpy(memory + whole_blocks * kBlockSize, last.data(), rest);
  control->bytes_done += rest;
  return Success{};
}

}  // namespace stillframe
