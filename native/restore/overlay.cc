#include "restore/overlay.h"

#include <algorithm>
#include <bit>

#include "image/page_presence.h"
#include "memory/page.h"

namespace stillframe {
namespace {

// A shorter run takes less time to copy than to map, including the faults that a mapping causes.
constexpr uint64_t kShortestRun = uint64_t{64} << 10;

// Adds a run for each group of `pages`, all of one block, that is contiguous in the file.
void AddRuns(const ImageFile& file, const BlockEntry& entry, uint64_t pages,
             std::vector<OverlayRun>* runs) {
  while (pages != 0) {
    const auto first = static_cast<uint64_t>(std::countr_zero(pages));
    const auto count = static_cast<uint64_t>(std::countr_one(pages >> first));
    pages &= ~(FirstPages(count) << first);
    const uint64_t offset = uint64_t{entry.block} * kBlockSize + first * kPageSize;
    const uint64_t file_offset = entry.file_offset + DenseLength(entry.present & FirstPages(first));
    const uint64_t length = count * kPageSize;
    OverlayRun* last = runs->empty() ? nullptr : &runs->back();
    if (last != nullptr && last->file == &file && last->offset + last->length == offset &&
        last->file_offset + last->length == file_offset) {
      last->length += length;
    } else {
      runs->push_back({&file, offset, file_offset, length});
    }
  }
}

void KeepLongest(size_t most, std::vector<OverlayRun>* runs) {
  std::erase_if(*runs, [](const OverlayRun& run) { return run.length < kShortestRun; });
  if (runs->size() <= most) return;
  const auto longer = [](const OverlayRun& a, const OverlayRun& b) { return a.length > b.length; };
  std::nth_element(runs->begin(), runs->begin() + static_cast<ptrdiff_t>(most), runs->end(),
                   longer);
  runs->resize(most);
}

}  // namespace

Overlay PlanOverlay(const ImageFile& image, uint32_t section, size_t most_runs) {
  Overlay overlay;
  overlay.to_read.resize(image.sections()[section].block_count);
  // The newest file that has a page decides its contents.
  const ImageFile::Section* here = &image.sections()[section];
  for (const ImageFile* file = &image; file->parent() != nullptr && here != nullptr;) {
    const uint64_t blocks = std::min<uint64_t>(here->block_count, overlay.to_read.size());
    // On a machine with larger pages, page boundaries differ from those of a file.
    const bool mappable = file->source().fd() >= 0 && SystemPageSize() == kPageSize;
    for (const BlockEntry& entry : file->EntriesOf(*here, 0, blocks)) {
      uint64_t* decided = &overlay.to_read[entry.block];
      // A block after a compressed one in its piece may begin anywhere.
      const bool aligned = entry.file_offset % kPageSize == 0;
      if (mappable && aligned && entry.codec == Codec::kNone) {
        AddRuns(*file, entry, entry.present & ~*decided, &overlay.runs);
      }
      *decided |= entry.present | entry.zero;
    }
    here = file->InParent(static_cast<uint32_t>(here - file->sections().data()));
    file = file->parent();
  }
  KeepLongest(most_runs, &overlay.runs);
  for (const OverlayRun& run : overlay.runs) {
    const uint64_t end = (run.offset + run.length) / kPageSize;
    for (uint64_t page = run.offset / kPageSize; page < end; page++) {
      overlay.to_read[page / kPagesPerBlock] &= ~(uint64_t{1} << (page % kPagesPerBlock));
    }
  }
  return overlay;
}

}  // namespace stillframe
