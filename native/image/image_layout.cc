#include "image/image_layout.h"

namespace stillframe {

ImageLayout PlanLayout(const std::vector<ImageDescription::Section>& sections, Layout kind) {
  ImageLayout layout;
  layout.layout = kind;
  uint64_t offset = kPartAlignment;  // after the header
  for (const auto& section : sections) {
    const uint64_t data_offset = kind == Layout::kFlat ? offset : 0;
    layout.sections.push_back(
        {section.byte_length, data_offset, layout.block_count, layout.chunk_count});
    layout.block_count += BlockCount(section.byte_length);
    layout.chunk_count += DivideRoundingUp(section.byte_length, kChunkSize);
    layout.byte_length += section.byte_length;
    offset = RoundUp(offset + section.byte_length, kPartAlignment);
  }
  // This holds for packed files too, where no chunk takes more space than in a flat file.
  layout.data_end = offset;
  return layout;
}

}  // namespace stillframe
