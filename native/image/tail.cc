#include "image/tail.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/mapping.h"
#include "image/checksum.h"

namespace stillframe {
namespace {

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

// The checksum of a page whose checksum field is still zero.
template <typename Struct>
void Seal(std::byte* page, Struct* fields) {
  memcpy(page, fields, sizeof *fields);
  fields->checksum = Checksum(page, kPageSize);
  memcpy(page, fields, sizeof *fields);
}

// Where the parts of the tail lie, from its beginning; the index comes first.
struct TailParts {
  uint64_t records;
  uint64_t names;
  uint64_t metadata;
  uint64_t metadata_end;
  uint64_t trailer;
  uint64_t length;
};

TailParts PlaceParts(const ImageDescription& image, uint64_t block_count) {
  TailParts parts{};
  parts.records = block_count * sizeof(BlockEntry);
  parts.names = parts.records + image.sections.size() * sizeof(SectionRecord);
  parts.metadata = parts.names;
  for (const auto& section : image.sections) parts.metadata += section.name.size();
  parts.metadata_end = parts.metadata + image.metadata.size();
  parts.trailer = RoundUp(parts.metadata_end, kPageSize);
  parts.length = parts.trailer + kPageSize;
  return parts;
}

void FillHeader(const ImageDescription& image, const ImageLayout& layout, std::byte* page) {
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
  Seal(page, &header);
}

void FillSections(const ImageDescription& image, const ImageLayout& layout, std::byte* records,
                  std::byte* names) {
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
}

// Last: it has the checksums of the other parts.
void FillTrailer(const ImageDescription& image, const ImageLayout& layout, const TailParts& parts,
                 uint64_t tail_offset, std::byte* tail) {
  FileTrailer trailer{};
  memcpy(trailer.magic, kTrailerMagic, sizeof trailer.magic);
  memcpy(trailer.id, image.id.data(), sizeof trailer.id);
  trailer.file_length = tail_offset + parts.length;
  trailer.index_offset = tail_offset;
  trailer.index_count = layout.block_count;
  trailer.index_checksum = Checksum(tail, parts.records);
  trailer.sections_offset = tail_offset + parts.records;
  trailer.section_count = image.sections.size();
  trailer.names_length = parts.metadata - parts.names;
  trailer.sections_checksum = Checksum(tail + parts.records, parts.metadata - parts.records);
  trailer.metadata_offset = tail_offset + parts.metadata;
  trailer.metadata_length = image.metadata.size();
  trailer.metadata_checksum = Checksum(tail + parts.metadata, image.metadata.size());
  Seal(tail + parts.trailer, &trailer);
}

}  // namespace

Result<uint64_t> WriteHeaderAndTail(ByteSink* sink, const ImageDescription& image,
                                    const ImageLayout& layout, const BlockEntry* index,
                                    uint64_t tail_offset) {
  const TailParts parts = PlaceParts(image, layout.block_count);
  // One page for the header, and the tail behind it.
  Result<Mapping> mapping =
      Mapping::Anonymous(kPageSize + parts.length, MAP_PRIVATE, "the tail of a snapshot file");
  if (!mapping.ok()) return mapping.failure();
  std::byte* header = mapping.value().data();
  std::byte* tail = header + kPageSize;
  FillHeader(image, layout, header);
  memcpy(tail, index, parts.records);
  FillSections(image, layout, tail + parts.records, tail + parts.names);
  memcpy(tail + parts.metadata, image.metadata.data(), image.metadata.size());
  FillTrailer(image, layout, parts, tail_offset, tail);

  Status wrote =
      WritePart(sink, tail, parts.length, tail_offset, "cannot write the index of the file");
  if (!wrote.ok()) return wrote.failure();
  wrote = WritePart(sink, header, kPageSize, 0, "cannot write the header of the file");
  if (!wrote.ok()) return wrote.failure();
  return tail_offset + parts.length;
}

}  // namespace stillframe
