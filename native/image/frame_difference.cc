#include "image/frame_difference.h"

#include <algorithm>
#include <utility>

#include "image/page_sums.h"
#include "image/read_failure.h"

namespace stillframe {
namespace {

constexpr uint64_t kPagesPerChunk = kBlocksPerChunk * kPagesPerBlock;

uint64_t PagesOf(uint64_t byte_length) { return DivideRoundingUp(byte_length, kPageSize); }

// The number of the section with this name, or the number of sections if there is none.
uint32_t Find(const ImageFile& image, const std::string& name) {
  const auto& sections = image.sections();
  const auto found = std::find_if(sections.begin(), sections.end(),
                                  [&](const auto& section) { return section.name == name; });
  return static_cast<uint32_t>(found - sections.begin());
}

// Reads the sums of a chunk. They are zero if there is no such section, and beyond its end.
Status ReadChunk(const ImageFile& image, uint32_t section, uint64_t first, PageSum* out) {
  std::fill_n(out, kPagesPerChunk, PageSum{0, 0});
  if (section == image.sections().size()) return Success{};
  const uint64_t blocks = image.sections()[section].block_count;
  if (first >= blocks) return Success{};
  return image.ReadSumsOfChunk(section, first, std::min(kBlocksPerChunk, blocks - first), out);
}

}  // namespace

Result<std::vector<SectionDifference>> CompareFrames(const ImageFile& from, const ImageFile& to,
                                                     uint64_t pieces, ReadControl* control) {
  const ImageFile* const frames[2] = {&from, &to};
  for (const ImageFile* frame : frames) {
    for (const ImageFile* file = frame; file != nullptr; file = file->parent()) {
      if (Status sums = file->CheckSums(); !sums.ok()) return sums.failure();
    }
  }
  std::vector<SectionDifference> sections;
  const auto add = [&](const std::string& name) {
    SectionDifference section;
    section.name = name;
    for (int i = 0; i < 2; i++) {
      const uint32_t at = Find(*frames[i], name);
      section.there[i] = at < frames[i]->sections().size();
      if (section.there[i]) section.byte_lengths[i] = frames[i]->sections()[at].byte_length;
    }
    sections.push_back(std::move(section));
  };
  for (const auto& section : to.sections()) add(section.name);
  for (const auto& section : from.sections()) {
    if (Find(to, section.name) == to.sections().size()) add(section.name);
  }
  control->bytes_total = 0;
  for (const SectionDifference& section : sections) {
    control->bytes_total += std::max(section.byte_lengths[0], section.byte_lengths[1]);
  }
  std::vector<PageSum> sums[2] = {std::vector<PageSum>(kPagesPerChunk),
                                  std::vector<PageSum>(kPagesPerChunk)};
  for (SectionDifference& section : sections) {
    const uint64_t pages = PagesOf(std::max(section.byte_lengths[0], section.byte_lengths[1]));
    const uint32_t numbers[2] = {Find(from, section.name), Find(to, section.name)};
    section.pages_per_piece = std::max<uint64_t>(DivideRoundingUp(pages, pieces), 1);
    section.pieces.resize(DivideRoundingUp(pages, section.pages_per_piece));
    for (uint64_t start = 0; start < pages; start += kPagesPerChunk) {
      if (control->cancelled) return ReadingAborted();
      for (int i = 0; i < 2; i++) {
        Status read = ReadChunk(*frames[i], numbers[i], start / kPagesPerBlock, sums[i].data());
        if (!read.ok()) return read.failure();
      }
      const uint64_t count = std::min(kPagesPerChunk, pages - start);
      for (uint64_t page = 0; page < count; page++) {
        if (sums[0][page] == sums[1][page]) continue;
        section.changed_pages++;
        section.pieces[(start + page) / section.pages_per_piece]++;
      }
      control->bytes_done += count * kPageSize;
    }
  }
  return sections;
}

}  // namespace stillframe
