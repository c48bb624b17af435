// Opens an image: reads and checks header, trailer, section table, metadata and the whole index.
//
// Nothing in them is trusted. Every field is either computed again and compared, or bounded before
// it is used, and no memory is allocated for a size that the file does not really have.
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
  // May be called only once.
  Result<ImageFile> Open();

 private:
  Status ReadHeader();
  Status ReadTrailer();
  // Checks that the parts of the tail have sane sizes and follow one another.
  Status CheckTail() const;
  Status ReadSections();
  Status NameSections(const std::vector<SectionRecord>& records, const std::string& names,
                      std::vector<ImageDescription::Section>* described) const;
  Status PlaceSections(const std::vector<SectionRecord>& records,
                       std::vector<ImageDescription::Section> described);
  Status ReadMetadata();
  Status ReadIndex();
  // Checks the entry at `position` of the index. It must be for a block of this section,
  // not before `least_block`.
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
  std::vector<uint64_t> first_sums_;  // see ImageFile
};

}  // namespace stillframe
