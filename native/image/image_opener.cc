#include "image/image_opener.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "image/checksum.h"
#include "image/gap_check.h"
#include "image/json_extent.h"
#include "image/read_failure.h"
#include "image/utf8.h"

namespace stillframe {

namespace {

// The index is read and checked in windows of this many bytes.
constexpr uint64_t kWindow = uint64_t{1} << 20;

// Checks the checksum of a page that begins with a struct whose last field is the checksum.
template <typename Struct>
bool SealHolds(std::byte* page, const Struct& fields) {
  memset(page + offsetof(Struct, checksum), 0, sizeof fields.checksum);
  return Checksum(page, kPageSize) == fields.checksum;
}

// Fails if the file has more than the caller allows. `limit` is the name of the option.
Status CheckLimit(uint64_t found, uint64_t allowed, const char* what, const char* limit) {
  if (found <= allowed) return Success{};
  return Fail(FailureCode::kOutOfRange, "the file has " + std::to_string(found) + what +
                                            ", more than limits." + limit + " allows (" +
                                            std::to_string(allowed) + ")");
}

// A file may ask for more memory than there is, in which case the containers of the standard
// library can only terminate the process.
Status CheckRoomFor(uint64_t bytes, const char* what) {
  Result<Mapping> room = Mapping::Anonymous(std::max<uint64_t>(bytes, 1), MAP_PRIVATE, what);
  if (!room.ok()) return room.failure();
  return Success{};
}

}  // namespace

Result<ImageFile> ImageOpener::Open() {
  Status status = ReadHeader();
  if (status.ok()) status = ReadTrailer();
  if (status.ok()) status = CheckTail();
  if (status.ok()) status = ReadSections();
  if (status.ok()) status = ReadMetadata();
  if (status.ok()) status = ReadIndex();
  if (!status.ok()) return status.failure();
  ImageFile image;
  image.source_ = std::move(source_);
  image.layout_ = layout_;
  image.header_ = header_;
  image.trailer_ = trailer_;
  image.sections_ = std::move(sections_);
  image.metadata_ = std::move(metadata_);
  image.index_ = std::move(index_);
  image.first_sums_ = std::move(first_sums_);
  if (Status places = layout_->CheckPlaces(image); !places.ok()) return places.failure();
  image.source_->PrepareForMuch();
  return image;
}

Status ImageOpener::ReadHeader() {
  std::byte page[kPageSize];
  const uint64_t have = std::min(source_->length(), kPageSize);
  if (Status read = source_->Read(page, have, 0, ""); !read.ok()) return read;
  if (have < sizeof kHeaderMagic || memcmp(page, kHeaderMagic, sizeof kHeaderMagic) != 0) {
    return Fail(FailureCode::kFormat,
                have == 0 ? "the file is empty, so it is not a snapshot"
                          : "this is not a stillframe snapshot (its first bytes differ)");
  }
  if (have < kPageSize) return Corrupt(have, "", "the file ends in its header: it is truncated");
  memcpy(&header_, page, sizeof header_);
  // The header page and its checksum are the same in all versions, so the version can be trusted.
  if (!SealHolds(page, header_)) return Corrupt(0, "", "the header does not match its checksum");
  if (header_.version_major > kVersionMajor) {
    return Fail(FailureCode::kVersion,
                "the file has format version " + std::to_string(header_.version_major) + "." +
                    std::to_string(header_.version_minor) + ", and this release reads only up to " +
                    std::to_string(kVersionMajor) + "; update stillframe");
  }
  layout_ = BlockLayout::Of(header_.layout);
  if (layout_ == nullptr) {
    return Fail(FailureCode::kVersion, "the file has layout " +
                                           std::to_string(static_cast<uint32_t>(header_.layout)) +
                                           ", which this release does not read; update stillframe");
  }
  if (header_.version_major == 0 || header_.header_length != kPageSize ||
      header_.page_size != kPageSize || header_.block_size != kBlockSize) {
    return Corrupt(0, "", "the header has sizes that no version of the format has");
  }
  const bool builds_on_itself = memcmp(header_.parent_id, header_.id, sizeof header_.id) == 0;
  if (IsDelta(header_) ? header_.layout != Layout::kPacked || builds_on_itself
                       : header_.parent_state != PageSum{}) {
    return Corrupt(0, "", "the header names a parent that it cannot have");
  }
  return Success{};
}

Status ImageOpener::ReadTrailer() {
  const uint64_t smallest = kPartAlignment + sizeof(SectionRecord) + kPageSize;
  if (source_->length() < smallest || source_->length() % kPageSize != 0) {
    return Corrupt(source_->length(), "", "the file is shorter or longer than it was written");
  }
  const uint64_t at = source_->length() - kPageSize;
  std::byte page[kPageSize];
  if (Status read = source_->Read(page, kPageSize, at, ""); !read.ok()) return read;
  memcpy(&trailer_, page, sizeof trailer_);
  if (memcmp(trailer_.magic, kTrailerMagic, sizeof kTrailerMagic) != 0) {
    return Corrupt(at, "",
                   "there is no trailer at the end: the file is truncated, or bytes were added");
  }
  if (!SealHolds(page, trailer_)) return Corrupt(at, "", "the trailer does not match its checksum");
  if (trailer_.file_length != source_->length()) {
    return Corrupt(at, "", "the file is shorter or longer than it was written");
  }
  if (memcmp(trailer_.id, header_.id, sizeof header_.id) != 0) {
    return Corrupt(at, "", "header and trailer belong to different files");
  }
  return Success{};
}

Status ImageOpener::CheckTail() const {
  const uint64_t trailer_at = trailer_.file_length - kPageSize;
  // The parts of the tail follow one another; each length is bounded before it is added.
  const bool counts_bounded =
      trailer_.section_count >= 1 && trailer_.section_count <= kMaxSections &&
      trailer_.names_length <= trailer_.section_count * kMaxNameLength &&
      trailer_.metadata_length <= kMaxMetadataLength && trailer_.index_count <= kMaxSectionLength &&
      trailer_.sum_count <= kMaxSectionLength;
  if (!counts_bounded) return Corrupt(trailer_at, "", "the trailer has counts beyond all limits");
  const uint64_t records_length = trailer_.section_count * sizeof(SectionRecord);
  const uint64_t index_length = trailer_.index_count * sizeof(BlockEntry);
  const uint64_t sums_length = trailer_.sum_count * sizeof(PageSum);
  const bool in_order =
      trailer_.index_offset % kPartAlignment == 0 && trailer_.index_offset >= kPartAlignment &&
      trailer_.index_offset <= trailer_at && index_length <= trailer_at - trailer_.index_offset &&
      sums_length <= trailer_at - trailer_.index_offset - index_length &&
      trailer_.sections_offset == trailer_.index_offset + index_length + sums_length &&
      trailer_.metadata_offset ==
          trailer_.sections_offset + records_length + trailer_.names_length &&
      RoundUp(trailer_.metadata_offset + trailer_.metadata_length, kPageSize) == trailer_at;
  if (!in_order) return Corrupt(trailer_at, "", "the trailer does not describe this file");
  return Success{};
}

Status ImageOpener::ReadSections() {
  Status count = CheckLimit(trailer_.section_count, limits_.sections, " sections", "sections");
  if (!count.ok()) return count;
  const uint64_t records_length = trailer_.section_count * sizeof(SectionRecord);
  // The table exists in several forms for a moment.
  const uint64_t table_length = records_length + trailer_.names_length;
  if (Status room = CheckRoomFor(4 * table_length, "the section table"); !room.ok()) return room;
  std::string bytes(table_length, '\0');
  const uint64_t at = trailer_.sections_offset;
  Status read = source_->Read(reinterpret_cast<std::byte*>(bytes.data()), bytes.size(), at, "");
  if (!read.ok()) return read;
  if (Checksum(bytes.data(), bytes.size()) != trailer_.sections_checksum) {
    return Corrupt(at, "", "the section table does not match its checksum");
  }
  std::vector<SectionRecord> records(trailer_.section_count);
  memcpy(records.data(), bytes.data(), records_length);
  std::vector<ImageDescription::Section> described;
  Status named = NameSections(records, bytes.substr(records_length), &described);
  return named.ok() ? PlaceSections(records, std::move(described)) : named;
}

Status ImageOpener::NameSections(const std::vector<SectionRecord>& records,
                                 const std::string& names,
                                 std::vector<ImageDescription::Section>* described) const {
  std::set<std::string> taken;
  uint64_t name_offset = 0;
  for (size_t i = 0; i < records.size(); i++) {
    const uint64_t record_at = trailer_.sections_offset + i * sizeof(SectionRecord);
    const SectionRecord& record = records[i];
    if (record.name_length == 0 || record.name_length > kMaxNameLength ||
        record.name_offset != name_offset ||
        record.name_length > trailer_.names_length - name_offset) {
      return Corrupt(record_at, "", "a section's name is outside the table of names");
    }
    std::string name = names.substr(name_offset, record.name_length);
    name_offset += record.name_length;
    if (!IsUtf8WithoutNul(name)) return Corrupt(record_at, "", "a section's name is not UTF-8");
    if (!taken.insert(name).second)
      return Corrupt(record_at, name, "two sections have the same name");
    if (record.byte_length > kMaxSectionLength) {
      return Corrupt(record_at, name, "the section is larger than an address space");
    }
    described->push_back({std::move(name), record.byte_length});
  }
  if (name_offset != trailer_.names_length)
    return Corrupt(trailer_.sections_offset, "", "there are names without a section");
  return Success{};
}

Status ImageOpener::PlaceSections(const std::vector<SectionRecord>& records,
                                  std::vector<ImageDescription::Section> described) {
  const ImageLayout layout = PlanLayout(described, header_.layout);
  const bool tail_fits = layout_->TailFits(trailer_.index_offset, layout.data_end);
  // A delta may have fewer entries.
  const bool index_fits = IsDelta(header_) ? trailer_.index_count <= layout.block_count
                                           : trailer_.index_count == layout.block_count;
  if (!tail_fits || !index_fits) {
    return Corrupt(trailer_.file_length - kPageSize, "", "sections and index do not fit together");
  }
  uint64_t entries = 0;
  for (size_t i = 0; i < records.size(); i++) {
    const SectionRecord& record = records[i];
    const SaveSection& planned = layout.sections[i];
    const uint64_t block_count = BlockCount(record.byte_length);
    const bool lists =
        IsDelta(header_) ? record.entry_count <= block_count : record.entry_count == block_count;
    if (record.data_offset != planned.data_offset || record.first_entry != entries || !lists ||
        record.entry_count > trailer_.index_count - entries) {
      return Corrupt(trailer_.sections_offset + i * sizeof record, described[i].name,
                     "the section is at an impossible offset");
    }
    entries += record.entry_count;
    sections_.push_back({std::move(described[i].name), record.byte_length, record.data_offset,
                         block_count, record.first_entry, record.entry_count, 0});
  }
  if (entries == trailer_.index_count) return Success{};
  return Corrupt(trailer_.sections_offset, "", "there are index entries without a section");
}

Status ImageOpener::ReadMetadata() {
  const uint64_t trailer_at = trailer_.file_length - kPageSize;
  Status bytes = CheckLimit(trailer_.metadata_length, limits_.metadata_bytes, " bytes of metadata",
                            "metadataBytes");
  if (!bytes.ok()) return bytes;
  // The metadata will exist as text here, and as text and as a value in JavaScript.
  if (Status room = CheckRoomFor(3 * trailer_.metadata_length, "the metadata"); !room.ok())
    return room;
  metadata_.resize(trailer_.metadata_length);
  Status read = source_->Read(reinterpret_cast<std::byte*>(metadata_.data()), metadata_.size(),
                              trailer_.metadata_offset, "");
  if (!read.ok()) return read;
  if (Checksum(metadata_.data(), metadata_.size()) != trailer_.metadata_checksum) {
    return Corrupt(trailer_.metadata_offset, "", "the metadata does not match its checksum");
  }
  if (!IsUtf8WithoutNul(metadata_))
    return Corrupt(trailer_.metadata_offset, "", "the metadata is not UTF-8");
  const JsonExtent extent = MeasureJson(metadata_);
  Status values = CheckLimit(extent.values, limits_.metadata_values, " values in its metadata",
                             "metadataValues");
  if (!values.ok()) return values;
  Status depth = CheckLimit(extent.depth, limits_.metadata_depth,
                            " levels of nesting in its metadata", "metadataDepth");
  if (!depth.ok()) return depth;
  const uint64_t end = trailer_.metadata_offset + trailer_.metadata_length;
  std::vector<std::byte> padding(trailer_at - end);
  read = source_->Read(padding.data(), padding.size(), end, "");
  if (!read.ok()) return read;
  const auto bad = FirstNotZero(padding.data(), padding.size());
  if (bad == padding.size()) return Success{};
  return Corrupt(end + bad, "", "there are bytes where the file must be zero");
}

Status ImageOpener::ReadIndex() {
  const uint64_t length = trailer_.index_count * sizeof(BlockEntry);
  if (length > 0) {
    // Each entry holds its own position, so no page of an index is zero, and a hole in it means
    // that the file claims more than it has. (A filesystem that cannot tell reports no holes.)
    const uint64_t end = trailer_.index_offset + length;
    const uint64_t hole = source_->NextHole(trailer_.index_offset, end);
    if (hole < end) {
      return Corrupt(hole, "", "the index has a hole");
    }
    // Reserves only address space. Pages are allocated as windows are read.
    Result<Mapping> mapping =
        Mapping::Anonymous(length, MAP_PRIVATE | MAP_NORESERVE, "the index of a file");
    if (!mapping.ok()) return mapping.failure();
    index_ = std::move(mapping.value());
  }
  RunningChecksum checksum;
  size_t section = 0;
  uint64_t checked = 0;      // number of entries checked so far
  uint64_t least_block = 0;  // the lowest block that the next entry may have
  uint64_t sums = 0;
  for (uint64_t done = 0; done < length;) {
    const uint64_t window = std::min(kWindow, length - done);
    Status read = source_->Read(index_.data() + done, window, trailer_.index_offset + done, "");
    if (!read.ok()) return read;
    checksum.Update(index_.data() + done, window);
    done += window;
    for (; (checked + 1) * sizeof(BlockEntry) <= done; checked++) {
      while (checked - sections_[section].first_entry == sections_[section].entry_count) {
        section++;
        least_block = 0;
      }
      const auto& entry = reinterpret_cast<const BlockEntry*>(index_.data())[checked];
      Status valid = CheckEntry(entry, checked, static_cast<uint32_t>(section), least_block);
      if (!valid.ok()) return valid;
      least_block = uint64_t{entry.block} + 1;
      sections_[section].stored_bytes += entry.stored_length;
      if (checked % kBlocksPerChunk == 0) first_sums_.push_back(sums);
      sums += static_cast<uint64_t>(std::popcount(entry.present));
    }
  }
  if (checksum.Value() != trailer_.index_checksum) {
    return Corrupt(trailer_.index_offset, "", "the index does not match its checksum");
  }
  if (sums != trailer_.sum_count) {
    return Corrupt(trailer_.index_offset, "", "there are more or fewer sums than pages");
  }
  return Success{};
}

Status ImageOpener::CheckEntry(const BlockEntry& entry, uint64_t position, uint32_t section,
                               uint64_t least_block) const {
  const ImageSection& in = sections_[section];
  const auto refuse = [&] {
    return Corrupt(trailer_.index_offset + position * sizeof(BlockEntry), in.name,
                   "the index entry of block " +
                       std::to_string(IsDelta(header_) ? entry.block : least_block) +
                       " is not one that a writer would make");
  };
  const bool placed = entry.section == section && entry.block < in.block_count &&
                      (IsDelta(header_) ? entry.block >= least_block : entry.block == least_block);
  if (!placed || entry.reserved != 0) return refuse();
  // An entry of a full file lists all pages of its block; an entry of a delta lists at least one.
  const uint64_t all = PagesOfBlock(in.byte_length, entry.block);
  const uint64_t told = entry.present | entry.zero;
  const bool tells = IsDelta(header_) ? told != 0 && (told & ~all) == 0 : told == all;
  if (!tells || (entry.present & entry.zero) != 0) return refuse();
  bool holds = false;
  switch (StateOf(entry)) {
    case BlockState::kZero:
      holds = entry.file_offset == 0 && entry.stored_length == 0 && entry.checksum == 0 &&
              entry.codec == Codec::kNone;
      break;
    case BlockState::kHere:
      holds = layout_->EntryHolds(in, entry.block, entry);
      break;
  }
  if (holds) return Success{};
  return refuse();
}

}  // namespace stillframe
