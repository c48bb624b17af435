// Opens an image: header, trailer, section table, metadata and the whole index are read and checked.
//
// Nothing in them is believed: every field is either computed again and compared, or bounded before it is used, and
// nothing is allocated for a size that the file does not really hold.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "image/block_layout.h"
#include "image/byte_source.h"
#include "image/image_file.h"
#include "image/image_layout.h"
#include "image/read_limits.h"

namespace stillframe {

class ImageOpener {
 public:
  ImageOpener(std::unique_ptr<ByteSource> source, const ReadLimits& limits)
      : source_(std::move(source)), limits_(limits) {}
  // Once.
  Result<ImageFile> Open();

 private:
  Status ReadHeader();
  Status ReadTrailer();
  // That the parts of the tail are of sane sizes, and lie one behind the other.
  Status CheckTail() const;
  Status ReadSections();
  Status NameSections(const std::vector<SectionRecord>& records, const std::string& names,
                      std::vector<ImageDescription::Section>* described) const;
  Status PlaceSections(const std::vector<SectionRecord>& records,
                       std::vector<ImageDescription::Section> described);
  Status ReadMetadata();
  Status ReadIndex();
  // The entry at `position` of the index, of a block of this section that is not before `least_block`.
  Status CheckEntry(const BlockEntry& entry, uint64_t position, uint32_t section,
                    uint64_t least_block) const;

  std::unique_ptr<ByteSource> source_;
  const ReadLimits limits_;
  const BlockLayout* layout_ = nullptr;
  FileHeader header_{};
  FileTrailer trailer_{};
  std::vector<ImageSection> sections_;
  std::string metadata_;
  Mapping index_;
  std::vector<uint64_t> first_sums_;  // of every kBlocksPerChunk-th entry
};

}  // namespace stillframe
