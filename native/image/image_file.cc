#include "image/image_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/disabled_steps.h"
#include "base/mapping.h"
#include "image/checksum.h"
#include "image/control_block.h"
#include "image/image_sweep.h"
#include "image/json_extent.h"
#include "image/read_failure.h"
#include "image/saver.h"
#include "image/tail.h"
#include "image/utf8.h"
#include "memory/page.h"

namespace stillframe {
namespace {

constexpr uint64_t kWindow = uint64_t{1} << 20;

// Checks the checksum of a page that ends in a struct's checksum field.
template <typename Struct>
bool SealHolds(std::byte* page, const Struct& fields) {
  memset(page + offsetof(Struct, checksum), 0, sizeof fields.checksum);
  return Checksum(page, kPageSize) == fields.checksum;
}

// `length` when all are zero.
uint64_t FirstNotZero(const std::byte* bytes, uint64_t length) {
  const auto* found =
      std::find_if(bytes, bytes + length, [](std::byte byte) { return byte != std::byte{0}; });
  return static_cast<uint64_t>(found - bytes);
}

// For what is more than the caller is ready for; `limit` is the name of the option.
Status CheckLimit(uint64_t found, uint64_t allowed, const char* what, const char* limit) {
  if (found <= allowed) return Success{};
  return Fail(FailureCode::kOutOfRange, "the file has " + std::to_string(found) + what +
                                            ", more than limits." + limit + " allows (" +
                                            std::to_string(allowed) + ")");
}

// What a file asks for may be more than there is, and the containers of the library can only end the process then.
Status CheckRoomFor(uint64_t bytes, const char* what) {
  Result<Mapping> room = Mapping::Anonymous(std::max<uint64_t>(bytes, 1), MAP_PRIVATE, what);
  if (!room.ok()) return room.failure();
  return Success{};
}

}  // namespace

Result<ImageFile> ImageFile::Open(const std::string& path, const ReadLimits& limits) {
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
    return Fail(FailureCode::kFormat, "this is not a regular file, so it is no snapshot");
  }
  image.actual_length_ = static_cast<uint64_t>(about.st_size);
  image.allocated_bytes_ = static_cast<uint64_t>(about.st_blocks) * 512;

  Status status = image.ReadHeader();
  if (status.ok()) status = image.ReadTrailer();
  if (status.ok()) status = image.ReadSections(limits);
  if (status.ok()) status = image.ReadIndex();
  if (!status.ok()) return status.failure();
  image.PrepareDirectReading();
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
    return Fail(FailureCode::kFormat,
                have == 0 ? "the file is empty, so it is no snapshot"
                          : "this is not a stillframe snapshot (its first bytes are others)");
  }
  if (have < kPageSize) return Corrupt(have, "", "the file ends in its header: it is truncated");
  memcpy(&header_, page, sizeof header_);
  // The header page and its checksum are the same in all versions, so that the version can be trusted.
  if (!SealHolds(page, header_)) return Corrupt(0, "", "the header does not match its checksum");
  if (header_.version_major > kVersionMajor) {
    return Fail(FailureCode::kVersion,
                "the file has format version " + std::to_string(header_.version_major) + "." +
                    std::to_string(header_.version_minor) + ", this release reads up to " +
                    std::to_string(kVersionMajor) + "; update stillframe");
  }
  if (header_.layout != Layout::kFlat && header_.layout != Layout::kPacked) {
    return Fail(FailureCode::kVersion, "the file has layout " +
                                           std::to_string(static_cast<uint32_t>(header_.layout)) +
                                           ", which this release does not read; update stillframe");
  }
  const uint8_t no_parent[sizeof header_.parent_id] = {};
  if (memcmp(header_.parent_id, no_parent, sizeof no_parent) != 0) {
    return Fail(
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

Status ImageFile::ReadSections(const ReadLimits& limits) {
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

  Status count = CheckLimit(trailer_.section_count, limits.sections, " sections", "sections");
  if (!count.ok()) return count;
  // The table is held in several forms for a moment.
  const uint64_t table_length = records_length + trailer_.names_length;
  if (Status room = CheckRoomFor(4 * table_length, "the section table"); !room.ok()) return room;
  std::string bytes(table_length, '\0');
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

  // A flat file has no freedom: everything lies where a writer would put it. Of a packed one the index tells more.
  const ImageLayout layout = PlanLayout(described, header_.layout);
  const bool tail_fits = header_.layout == Layout::kPacked
                             ? trailer_.index_offset <= layout.data_end
                             : trailer_.index_offset == layout.data_end;
  if (!tail_fits || layout.block_count != trailer_.index_count) {
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

  return ReadMetadata(limits);
}

Status ImageFile::ReadMetadata(const ReadLimits& limits) {
  const uint64_t trailer_at = trailer_.file_length - kPageSize;
  Status bytes = CheckLimit(trailer_.metadata_length, limits.metadata_bytes, " bytes of metadata",
                            "metadataBytes");
  if (!bytes.ok()) return bytes;
  // As text here, and as text and value in JavaScript.
  if (Status room = CheckRoomFor(3 * trailer_.metadata_length, "the metadata"); !room.ok())
    return room;
  metadata_.resize(trailer_.metadata_length);
  Status read = ReadExactly(reinterpret_cast<std::byte*>(metadata_.data()), metadata_.size(),
                            trailer_.metadata_offset, "");
  if (!read.ok()) return read;
  if (Checksum(metadata_.data(), metadata_.size()) != trailer_.metadata_checksum) {
    return Corrupt(trailer_.metadata_offset, "", "the metadata does not match its checksum");
  }
  if (!IsUtf8WithoutNul(metadata_))
    return Corrupt(trailer_.metadata_offset, "", "the metadata is not UTF-8");
  const JsonExtent extent = MeasureJson(metadata_);
  Status values = CheckLimit(extent.values, limits.metadata_values, " values in its metadata",
                             "metadataValues");
  if (!values.ok()) return values;
  Status depth = CheckLimit(extent.depth, limits.metadata_depth,
                            " levels of nesting in its metadata", "metadataDepth");
  if (!depth.ok()) return depth;
  const uint64_t end = trailer_.metadata_offset + trailer_.metadata_length;
  std::vector<std::byte> padding(trailer_at - end);
  read = ReadExactly(padding.data(), padding.size(), end, "");
  if (!read.ok()) return read;
  const auto bad = FirstNotZero(padding.data(), padding.size());
  if (bad == padding.size()) return Success{};
  return Corrupt(end + bad, "", "there are bytes where the file must be zero");
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
  return header_.layout == Layout::kPacked ? CheckPieces() : Status(Success{});
}

bool ImageFile::IsCached(uint64_t offset, uint64_t length) const {
  if (cache_probe_.data() == nullptr) return false;
  unsigned char resident[kChunkSize / kPageSize + 2];
  const uint64_t page = SystemPageSize();
  const uint64_t first = RoundDown(offset, page);
  const uint64_t pages = DivideRoundingUp(offset + length - first, page);
  if (pages > sizeof resident) return false;
  if (sys::Mincore(cache_probe_.data() + first, pages * page, resident) < 0) return false;
  const auto cached =
      std::count_if(resident, resident + pages, [](unsigned char each) { return (each & 1) != 0; });
  return static_cast<uint64_t>(cached) * 2 > pages;
}

void ImageFile::PrepareDirectReading() {
  if (StepDisabled("o_direct")) return;
  // By the descriptor: the name may be another file by now.
  const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
  const int fd = sys::Open(AT_FDCWD, self.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT, 0);
  if (fd < 0) return;
  direct_ = DirectReader(fd);
  void* probe = sys::Mmap(nullptr, actual_length_, PROT_NONE, MAP_SHARED, file_.get(), 0);
  if (!sys::IsError(probe)) cache_probe_ = Mapping(probe, actual_length_);
}

Status ImageFile::CheckEntry(const BlockEntry& entry, uint32_t section, uint64_t block) const {
  const Section& in = sections_[section];
  const uint64_t length = PaddedBlockLength(in.byte_length, block);
  const uint64_t pages = length / kPageSize;
  const uint64_t all = pages == kPagesPerBlock ? ~uint64_t{0} : (uint64_t{1} << pages) - 1;
  const bool stored = entry.present != 0;
  const bool named = entry.section == section && entry.block == block &&
                     (entry.present & ~all) == 0 && entry.reserved == 0;
  bool holds = false;
  if (!stored) {
    holds = named && entry.file_offset == 0 && entry.stored_length == 0 && entry.checksum == 0 &&
            entry.codec == Codec::kNone;
  } else if (header_.layout == Layout::kFlat) {
    holds = named && entry.codec == Codec::kNone && entry.stored_length == length &&
            entry.file_offset == in.data_offset + block * kBlockSize;
  } else {
    // Where it lies is looked at once all entries are known.
    const uint64_t dense = static_cast<uint64_t>(std::popcount(entry.present)) * kPageSize;
    const bool as_it_is = entry.codec == Codec::kNone && entry.stored_length == dense;
    const bool packed =
        entry.codec == Codec::kZstd && entry.stored_length > 0 && entry.stored_length < dense;
    holds = named && (as_it_is || packed);
  }
  if (holds) return Success{};
  return Corrupt(
      trailer_.index_offset + (in.first_entry + block) * sizeof(BlockEntry), in.name,
      "the index entry of block " + std::to_string(block) + " is not one a writer would make");
}

Status ImageFile::CheckPieces() const {
  struct Piece {
    uint64_t start;
    uint64_t end;
    const BlockEntry* first;
  };
  std::vector<Piece> pieces;
  const auto refuse = [&](const BlockEntry& entry) {
    return Corrupt(
        trailer_.index_offset +
            static_cast<uint64_t>(&entry - reinterpret_cast<const BlockEntry*>(index_.data())) *
                sizeof(BlockEntry),
        sections_[entry.section].name,
        "block " + std::to_string(entry.block) + " lies where no writer would put it");
  };
  for (const Section& section : sections_) {
    for (uint64_t chunk = 0; chunk < section.block_count; chunk += kBlocksPerChunk) {
      const uint64_t end = std::min(chunk + kBlocksPerChunk, section.block_count);
      const BlockEntry* first = nullptr;
      uint64_t at = 0;
      for (uint64_t block = chunk; block < end; block++) {
        const BlockEntry& entry = EntriesOf(section)[block];
        if (entry.present == 0) continue;
        if (first == nullptr) {
          first = &entry;
          at = entry.file_offset;
        }
        // Bounded before it is added to.
        if (entry.file_offset != at || at > trailer_.index_offset) return refuse(entry);
        at += entry.stored_length;
      }
      if (first != nullptr) pieces.push_back({first->file_offset, at, first});
    }
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.start < b.start; });
  uint64_t at = kPartAlignment;
  for (const Piece& piece : pieces) {
    if (piece.start != at) return refuse(*piece.first);
    at = RoundUp(piece.end, kPageSize);
  }
  if (RoundUp(at, kPartAlignment) == trailer_.index_offset) return Success{};
  return Corrupt(trailer_.index_offset, "", "the index lies where no writer would put it");
}

namespace {

// stored(): what lies between two page borders in the file, with a page more at either end.
constexpr uint64_t kStoredSize = kChunkSize + 2 * kPageSize;

}  // namespace

std::byte* ImageFile::Scratch::stored() const { return memory_.data() + kChunkSize; }
std::byte* ImageFile::Scratch::dense() const { return stored() + kStoredSize; }

Result<ImageFile::Scratch> ImageFile::Scratch::Create(const ImageFile& image) {
  const bool packed = image.layout() == Layout::kPacked;
  const uint64_t workspace = packed ? BlockDecompressor::WorkspaceBytes() : 0;
  const uint64_t length = kChunkSize + (packed ? kStoredSize + kBlockSize + workspace : 0);
  Result<Mapping> memory =
      Mapping::Anonymous(length, MAP_PRIVATE, "the buffers of a reader of a snapshot");
  if (!memory.ok()) return memory.failure();
  Scratch scratch(std::move(memory.value()));
  if (packed) {
    scratch.decompressor_ = std::make_unique<BlockDecompressor>(scratch.dense() + kBlockSize);
  }
  return scratch;
}

Status ImageFile::ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                           const std::string& section) const {
  const bool aligned = reinterpret_cast<uintptr_t>(out) % kPageSize == 0 &&
                       length % kPageSize == 0 && offset % kPageSize == 0;
  uint64_t done = 0;
  if (direct_.valid() && aligned && !IsCached(offset, length)) {
    while (done < length) {
      const int64_t got = sys::Pread(direct_.get(), out + done, length - done, offset + done);
      if (got == -EINTR) continue;
      // Some filesystems refuse it only now, and the end of the file needs no care: both are left to the other way.
      if (got <= 0 || static_cast<uint64_t>(got) % kPageSize != 0) break;
      done += static_cast<uint64_t>(got);
    }
  }
  return done == length ? Status(Success{})
                        : ReadExactly(out + done, length - done, offset + done, section);
}

Status ImageFile::ReadBlocks(uint32_t section_index, uint64_t first, uint64_t count, std::byte* out,
                             Check check, Scratch* scratch) const {
  if (header_.layout == Layout::kPacked) {
    return ReadPackedBlocks(section_index, first, count, out, check, scratch);
  }
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
    Status read = ReadMuch(at, run_length, entries[block].file_offset, section.name);
    if (!read.ok()) return read;
    for (; block < run_end; block++) {
      if (check == Check::kNone) continue;
      const std::byte* bytes = out + (block - first) * kBlockSize;
      if (Checksum(bytes, length_of(block)) != entries[block].checksum) {
        return Damaged(section_index, block, " does not match its checksum");
      }
      if (Status pages = CheckPages(section_index, block, bytes); !pages.ok()) return pages;
    }
  }
  return Success{};
}

Failure ImageFile::Damaged(uint32_t section, uint64_t block, const char* how) const {
  return Corrupt(EntriesOf(sections_[section])[block].file_offset, sections_[section].name,
                 "block " + std::to_string(block) + how);
}

Status ImageFile::CheckPages(uint32_t section_index, uint64_t block, const std::byte* bytes) const {
  const Section& section = sections_[section_index];
  const uint64_t length = PaddedBlockLength(section.byte_length, block);
  if (PresentPages(bytes, length) != EntriesOf(section)[block].present) {
    return Damaged(section_index, block, " has other zero pages than the index says");
  }
  const uint64_t used = std::min(length, section.byte_length - block * kBlockSize);
  if (FirstNotZero(bytes + used, length - used) == length - used) return Success{};
  return Damaged(section_index, block, " goes on behind the end of its section");
}

Status ImageFile::ReadPackedBlocks(uint32_t section_index, uint64_t first, uint64_t count,
                                   std::byte* out, Check check, Scratch* scratch) const {
  const Section& section = sections_[section_index];
  const BlockEntry* entries = EntriesOf(section);
  // The stored blocks of a chunk lie one behind the other: one read for all.
  uint64_t start = 0;
  uint64_t end = 0;
  for (uint64_t block = first; block < first + count; block++) {
    if (entries[block].present == 0) continue;
    if (end == 0) start = entries[block].file_offset;
    end = entries[block].file_offset + entries[block].stored_length;
  }
  const uint64_t from = RoundDown(start, kPageSize);
  const uint64_t length = RoundUp(end, kPageSize) - from;
  if (end > 0) {
    Status read = ReadMuch(scratch->stored(), length, from, section.name);
    if (!read.ok()) return read;
  }
  for (uint64_t block = first; block < first + count; block++) {
    std::byte* to = out + (block - first) * kBlockSize;
    if (entries[block].present == 0) {
      memset(to, 0, PaddedBlockLength(section.byte_length, block));
      continue;
    }
    Status unpacked =
        UnpackBlock(section_index, block, scratch->stored() + (entries[block].file_offset - from),
                    to, check, scratch);
    if (!unpacked.ok()) return unpacked;
  }
  return Success{};
}

Status ImageFile::UnpackBlock(uint32_t section_index, uint64_t block, const std::byte* stored,
                              std::byte* out, Check check, Scratch* scratch) const {
  const Section& section = sections_[section_index];
  const BlockEntry& entry = EntriesOf(section)[block];
  if (check != Check::kNone && Checksum(stored, entry.stored_length) != entry.checksum) {
    return Damaged(section_index, block, " does not match its checksum");
  }
  const uint64_t length = PaddedBlockLength(section.byte_length, block);
  const uint64_t dense_length = static_cast<uint64_t>(std::popcount(entry.present)) * kPageSize;
  const std::byte* dense = stored;
  if (entry.codec == Codec::kZstd) {
    // Straight to where it belongs when no page was left out.
    std::byte* to = dense_length == length ? out : scratch->dense();
    if (!scratch->decompressor_->Decompress(stored, entry.stored_length, to, dense_length)) {
      return Damaged(section_index, block, " cannot be decompressed");
    }
    dense = to;
  }
  if (dense != out) {
    for (uint64_t page = 0; page < length / kPageSize; page++) {
      if ((entry.present >> page & 1) != 0) {
        memcpy(out + page * kPageSize, dense, kPageSize);
        dense += kPageSize;
      } else {
        memset(out + page * kPageSize, 0, kPageSize);
      }
    }
  }
  return check == Check::kNone ? Status(Success{}) : CheckPages(section_index, block, out);
}

Status ImageFile::CheckZeros(uint64_t offset, uint64_t length, const std::string& section,
                             Scratch* scratch) const {
  scratch->zeros_.resize(kWindow);
  const uint64_t end = offset + length;
  while (offset < end) {
    // Holes are zero by definition: look only at what the filesystem says is data.
    const int64_t data = sys::Lseek(file_.get(), static_cast<int64_t>(offset), SEEK_DATA);
    if (data == -ENXIO || data >= static_cast<int64_t>(end)) break;
    if (data > static_cast<int64_t>(offset)) offset = static_cast<uint64_t>(data);
    const uint64_t piece = std::min(kWindow, end - offset);
    Status read = ReadExactly(scratch->zeros_.data(), piece, offset, section);
    if (!read.ok()) return read;
    const uint64_t bad = FirstNotZero(scratch->zeros_.data(), piece);
    if (bad != piece) {
      return Corrupt(offset + bad, section, "there are bytes where the file must be zero");
    }
    offset += piece;
  }
  return Success{};
}

Status ImageFile::CheckGapsOfChunk(uint32_t section_index, uint64_t first, uint64_t count,
                                   Scratch* scratch) const {
  const Section& section = sections_[section_index];
  const BlockEntry* entries = EntriesOf(section);
  if (header_.layout == Layout::kPacked) {
    uint64_t end = 0;
    for (uint64_t block = first; block < first + count; block++) {
      if (entries[block].present == 0) continue;
      end = entries[block].file_offset + entries[block].stored_length;
    }
    return CheckZeros(end, RoundUp(end, kPageSize) - end, "", scratch);
  }
  for (uint64_t block = first; block < first + count; block++) {
    if (entries[block].present != 0) continue;
    Status zeros = CheckZeros(section.data_offset + block * kBlockSize,
                              PaddedBlockLength(section.byte_length, block), section.name, scratch);
    if (!zeros.ok()) return zeros;
  }
  if (first + count < section.block_count) return Success{};
  // Between the last page of the section and what comes next.
  const uint64_t end = section.data_offset + RoundUp(section.byte_length, kPageSize);
  const uint64_t next = RoundUp(section.data_offset + section.byte_length, kPartAlignment);
  return CheckZeros(end, next - end, "", scratch);
}

Status ImageFile::CheckOuterGaps(Scratch* scratch) const {
  Status zeros = CheckZeros(kPageSize, kPartAlignment - kPageSize, "", scratch);
  if (!zeros.ok() || header_.layout == Layout::kFlat) return zeros;
  uint64_t end = kPartAlignment;
  for (uint64_t i = 0; i < trailer_.index_count; i++) {
    const auto& entry = reinterpret_cast<const BlockEntry*>(index_.data())[i];
    if (entry.present != 0) end = std::max(end, entry.file_offset + entry.stored_length);
  }
  end = RoundUp(end, kPageSize);
  return CheckZeros(end, trailer_.index_offset - end, "", scratch);
}

Result<std::vector<ImageProblem>> ImageFile::Verify(size_t max_problems,
                                                    ReadControl* control) const {
  return ImageSweep(*this).Run(ImageSweep::Extent::kFile, Check::kChecksums, max_problems, control);
}

Status ImageFile::ReadSection(uint32_t section_index, Check check, const Deliver& deliver,
                              ReadControl* control) const {
  const Section& section = sections_[section_index];
  Result<Scratch> scratch = Scratch::Create(*this);
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
