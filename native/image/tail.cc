#include "image/tail.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/mapping.h"
#include "image/checksum.h"
#include "image/write_some.h"

namespace stillframe {
namespace {

Status WritePart(int fd, const std::byte* bytes, uint64_t length, uint64_t offset,
                 const char* doing) {
  uint64_t done = 0;
  while (done < length) {
    const int64_t wrote = WriteSome(fd, bytes + done, length - done, offset + done);
    if (wrote < 0) return SystemFailure("pwrite", static_cast<int>(-wrote), doing);
    done += static_cast<uint64_t>(wrote);
  }
  return Success{};
}

// The checksum of a page whose checksum field is still zero.
template <typename Struct>
void Seal(std::byte* page, Struct* fields) {
  memcpy(page, fields, sizeof *fields);
  fields->checksum = Checksum(page, kPageSize);
  memcpy(page, fields, sizeof *fields);
}

}  // namespace

Result<uint64_t> WriteHeaderAndTail(int fd, const ImageDescription& image,
                                    const ImageLayout& layout, const BlockEntry* index,
                                    uint64_t tail_offset) {
  const uint64_t index_length = layout.block_count * sizeof(BlockEntry);
  const uint64_t records_length = image.sections.size() * sizeof(SectionRecord);
  uint64_t names_length = 0;
  for (const auto& section : image.sections) names_length += section.name.size();
  const uint64_t parts = index_length + records_length + names_length + image.metadata.size();
  const uint64_t trailer_at = RoundUp(parts, kPageSize);
  const uint64_t tail_length = trailer_at + kPageSize;

  // One page for the header, and the tail behind it.
  Result<Mapping> mapping =
      Mapping::Anonymous(kPageSize + tail_length, MAP_PRIVATE, "the tail of a snapshot file");
  if (!mapping.ok()) return mapping.failure();
  std::byte* header_page = mapping.value().data();
  std::byte* tail = header_page + kPageSize;

  FileHeader header{};
  memcpy(header.magic, kHeaderMagic, sizeof header.magic);
  header.version_major = kVersionMajor;
  header.version_minor = kVersionMinor;
  header.header_length = kPageSize;
  memcpy(header.id, image.id.data(), sizeof header.id);
  header.layout = layout.layout;
  header.page_size = kPageSize;
  header.block_size = kBlockSize;
  header.frozen_at_ns = image.frozen_at_ns;
  Seal(header_page, &header);

  std::byte* records = tail + index_length;
  std::byte* names = records + records_length;
  std::byte* metadata = names + names_length;
  memcpy(tail, index, index_length);
  uint32_t name_offset = 0;
  for (size_t i = 0; i < image.sections.size(); i++) {
    const std::string& name = image.sections[i].name;
    SectionRecord record{};
    record.byte_length = image.sections[i].byte_length;
    record.data_offset = layout.sections[i].data_offset;
    record.first_entry = layout.sections[i].first_entry;
    record.block_count = BlockCount(record.byte_length);
    record.name_offset = name_offset;
    record.name_length = static_cast<uint32_t>(name.size());
    memcpy(records + i * sizeof record, &record, sizeof record);
    memcpy(names + name_offset, name.data(), name.size());
    name_offset += record.name_length;
  }
  memcpy(metadata, image.metadata.data(), image.metadata.size());

  FileTrailer trailer{};
  memcpy(trailer.magic, kTrailerMagic, sizeof trailer.magic);
  memcpy(trailer.id, image.id.data(), sizeof trailer.id);
  trailer.file_length = tail_offset + tail_length;
  trailer.index_offset = tail_offset;
  trailer.index_count = layout.block_count;
  trailer.index_checksum = Checksum(tail, index_length);
  trailer.sections_offset = trailer.index_offset + index_length;
  trailer.section_count = image.sections.size();
  trailer.names_length = names_length;
  trailer.sections_checksum = Checksum(records, records_length + names_length);
  trailer.metadata_offset = trailer.sections_offset + records_length + names_length;
  trailer.metadata_length = image.metadata.size();
  trailer.metadata_checksum = Checksum(metadata, image.metadata.size());
  Seal(tail + trailer_at, &trailer);

  Status wrote =
      WritePart(fd, tail, tail_length, tail_offset, "cannot write the index of the file");
  if (!wrote.ok()) return wrote.failure();
  wrote = WritePart(fd, header_page, kPageSize, 0, "cannot write the header of the file");
  if (!wrote.ok()) return wrote.failure();
  return trailer.file_length;
}

}  // namespace stillframe
