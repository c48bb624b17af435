#include "image/image_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "image/checksum.h"
#include "image/file_source.h"
#include "image/gap_check.h"
#include "image/image_opener.h"
#include "image/image_sweep.h"
#include "image/page_sums.h"
#include "image/read_failure.h"

namespace stillframe {

Result<ImageFile> ImageFile::Open(const std::string& path, const ReadLimits& limits) {
  Result<std::unique_ptr<FileSource>> source = FileSource::Open(path);
  if (!source.ok()) return source.failure();
  return Open(std::move(source.value()), limits);
}

Result<ImageFile> ImageFile::Open(std::unique_ptr<ByteSource> source, const ReadLimits& limits) {
  return ImageOpener(std::move(source), limits).Open();
}

Result<ReadScratch> ImageFile::MakeScratch() const {
  return ReadScratch::Create(!layout_->mappable(), source_->length() >= kChunkSize);
}

void ImageFile::BuildOn(std::unique_ptr<ImageFile> parent, std::string path) {
  parent_ = std::move(parent);
  parent_->path_ = std::move(path);
  std::unordered_map<std::string_view, uint32_t> numbers;
  for (uint32_t i = 0; i < parent_->sections_.size(); i++) {
    numbers.emplace(parent_->sections_[i].name, i);
  }
  in_parent_.clear();
  for (const Section& section : sections_) {
    const auto found = numbers.find(section.name);
    in_parent_.push_back(found != numbers.end() ? found->second : kNowhere);
  }
}

const ImageSection* ImageFile::InParent(uint32_t section) const {
  const uint32_t number = in_parent_[section];
  return number != kNowhere ? &parent_->sections_[number] : nullptr;
}

const ImageFile* ImageFile::FrameOf(const uint8_t* id) const {
  if (memcmp(header_.id, id, sizeof header_.id) == 0) return this;
  return parent_ ? parent_->FrameOf(id) : nullptr;
}

const ImageSection* ImageFile::InFrame(const ImageFile& frame, uint32_t section) const {
  if (&frame == this) return &sections_[section];
  return in_parent_[section] != kNowhere ? parent_->InFrame(frame, in_parent_[section]) : nullptr;
}

uint64_t ImageFile::PagesAbove(const ImageFile& frame, uint32_t section, uint64_t block) const {
  if (&frame == this) return 0;
  const BlockEntry& entry = EntryOf(sections_[section], block);
  const Section* in_parent = InParent(section);
  const bool deeper = in_parent != nullptr && block < in_parent->block_count;
  return entry.present | entry.zero |
         (deeper ? parent_->PagesAbove(frame, in_parent_[section], block) : 0);
}

// A delta must list all pages that its parent does not have, so that no file can claim more
// memory than it has entries for.
Status ImageFile::CheckCover() const {
  for (uint32_t i = 0; i < sections_.size(); i++) {
    const Section& section = sections_[i];
    const Section* in_parent = parent_ ? InParent(i) : nullptr;
    const uint64_t have =
        in_parent != nullptr ? DivideRoundingUp(in_parent->byte_length, kPageSize) : 0;
    if (have >= DivideRoundingUp(section.byte_length, kPageSize)) continue;
    const uint64_t first = have / kPagesPerBlock;
    const uint64_t count = section.block_count - first;
    const std::span<const BlockEntry> entries = EntriesOf(section, first, count);
    bool covers = entries.size() == count;
    // The parent may have some pages of the first of these blocks.
    uint64_t theirs = FirstPages(have % kPagesPerBlock);
    for (const BlockEntry& entry : entries) {
      const uint64_t told = entry.present | entry.zero | theirs;
      covers = covers && told == (PagesOfBlock(section.byte_length, entry.block) | theirs);
      theirs = 0;
    }
    if (covers) continue;
    return Corrupt(trailer_.sections_offset, section.name,
                   "the section has pages that are neither in this file nor in its parent");
  }
  return Success{};
}

Status ImageFile::ReadBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                             Check check, Scratch* scratch) const {
  if (!parent_) return ReadOwnBlocks(section, first, count, out, check, scratch);
  uint64_t all[kBlocksPerChunk];
  for (uint64_t i = 0; i < count; i++) {
    all[i] = PagesOfBlock(sections_[section].byte_length, first + i);
  }
  return ReadPages(section, first, count, all, out, check, scratch);
}

// Adds the name of the parent file to a failure, since the caller asked for another file.
Status ImageFile::Named(Status status) const {
  constexpr std::string_view kNamed = "in the parent file ";
  if (status.ok() || path_.empty()) return status;
  std::string& message = status.failure().message;
  if (message.compare(0, kNamed.size(), kNamed) != 0) {
    message = std::string(kNamed) + path_ + ": " + message;
  }
  return status;
}

// The oldest file is read first, and each newer file overwrites the pages of its parent.
Status ImageFile::ReadPages(uint32_t section_index, uint64_t first, uint64_t count,
                            const uint64_t* wanted, std::byte* out, Check check,
                            Scratch* scratch) const {
  if (parent_) {
    uint64_t deeper[kBlocksPerChunk] = {};
    std::copy(wanted, wanted + count, deeper);
    for (const BlockEntry& entry : EntriesOf(sections_[section_index], first, count)) {
      deeper[entry.block - first] &= ~(entry.present | entry.zero);
    }
    Status read = ReadFromParent(section_index, first, count, deeper, out, check, scratch);
    if (!read.ok()) return read;
  }
  return Named(
      layout_->ReadBlocks(*this, section_index, first, count, wanted, out, check, scratch));
}

Status ImageFile::ReadFromParent(uint32_t section_index, uint64_t first, uint64_t count,
                                 const uint64_t* wanted, std::byte* out, Check check,
                                 Scratch* scratch) const {
  const Section& section = sections_[section_index];
  const Section* from = InParent(section_index);
  for (uint64_t i = 0; i < count; i++) {
    const bool there = from != nullptr && first + i < from->block_count;
    const uint64_t has = there ? PagesOfBlock(from->byte_length, first + i) : 0;
    if ((wanted[i] & ~has) == 0) continue;
    return Corrupt(trailer_.index_offset, section.name,
                   "block " + std::to_string(first + i) +
                       " has a page that is neither in this file nor in its parent");
  }
  if (std::all_of(wanted, wanted + count, [](uint64_t pages) { return pages == 0; })) {
    return Success{};
  }
  // Reading from a full file fills whole blocks, and `out` may have no room for a block that is
  // longer than the one of this file.
  const uint64_t last = first + count - 1;
  const auto length_of = [last](const Section& in) {
    return last < in.block_count ? PaddedBlockLength(in.byte_length, last) : 0;
  };
  const uint32_t in_parent = in_parent_[section_index];
  if (length_of(*from) <= length_of(section)) {
    const uint64_t there = std::min(count, from->block_count - first);
    return parent_->ReadPages(in_parent, first, there, wanted, out, check, scratch);
  }
  if (count > 1) {
    Status read = parent_->ReadPages(in_parent, first, count - 1, wanted, out, check, scratch);
    if (!read.ok()) return read;
  }
  const uint64_t pages = wanted[count - 1];
  if (pages == 0) return Success{};
  std::vector<std::byte> block(kBlockSize);
  Status read = parent_->ReadPages(in_parent, last, 1, &pages, block.data(), check, scratch);
  if (!read.ok()) return read;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const uint64_t at = static_cast<uint64_t>(std::countr_zero(left)) * kPageSize;
    memcpy(out + (count - 1) * kBlockSize + at, block.data() + at, kPageSize);
  }
  return Success{};
}

Status ImageFile::ReadSumsOfChunk(uint32_t section_index, uint64_t first, uint64_t count,
                                  PageSum* out) const {
  const Section& section = sections_[section_index];
  const Section* in_parent = parent_ ? InParent(section_index) : nullptr;
  std::fill_n(out, count * kPagesPerBlock, PageSum{0, 0});
  if (in_parent != nullptr && first < in_parent->block_count) {
    const uint64_t there = std::min(count, in_parent->block_count - first);
    Status read = parent_->ReadSumsOfChunk(in_parent_[section_index], first, there, out);
    if (!read.ok()) return read;
    // The section may be longer in the parent.
    for (uint64_t i = 0; i < there; i++) {
      const uint64_t pages = PaddedBlockLength(section.byte_length, first + i) / kPageSize;
      std::fill(out + i * kPagesPerBlock + pages, out + (i + 1) * kPagesPerBlock, PageSum{0, 0});
    }
  }
  const std::span<const BlockEntry> entries = EntriesOf(section, first, count);
  Result<std::vector<PageSum>> sums = SumsOf(entries);
  if (!sums.ok()) return sums.failure();
  auto next = sums.value().begin();
  for (const BlockEntry& entry : entries) {
    PageSum* of_block = out + (entry.block - first) * kPagesPerBlock;
    for (uint64_t page = 0; page < kPagesPerBlock; page++) {
      if ((entry.present >> page & 1) != 0) of_block[page] = *next++;
      if ((entry.zero >> page & 1) != 0) of_block[page] = PageSum{0, 0};
    }
  }
  return Success{};
}

Status ImageFile::ReadOwnBlocks(uint32_t section, uint64_t first, uint64_t count, std::byte* out,
                                Check check, Scratch* scratch) const {
  return layout_->ReadBlocks(*this, section, first, count, nullptr, out, check, scratch);
}

Status ImageFile::CheckOwnSums(uint32_t section_index, uint64_t first, uint64_t count,
                               const std::byte* bytes) const {
  const Section& section = sections_[section_index];
  const std::span<const BlockEntry> entries = EntriesOf(section, first, count);
  Result<std::vector<PageSum>> sums = SumsOf(entries);
  if (!sums.ok()) return sums.failure();
  auto next = sums.value().begin();
  for (const BlockEntry& entry : entries) {
    const std::byte* block = bytes + (entry.block - first) * kBlockSize;
    for (uint64_t left = entry.present; left != 0; left &= left - 1) {
      const auto page = static_cast<uint64_t>(std::countr_zero(left));
      if (SumOfPage(block + page * kPageSize) == *next++) continue;
      return Corrupt(
          sums_offset() + FirstSumOf(entry) * sizeof(PageSum), section.name,
          "block " + std::to_string(entry.block) + " has pages that do not match their sums");
    }
  }
  return Success{};
}

Result<PageSum> ImageFile::StateOfSums(const ReadControl& control) const {
  StateSum state;
  std::vector<PageSum> sums(kBlocksPerChunk * kPagesPerBlock);
  for (uint32_t i = 0; i < sections_.size(); i++) {
    for (uint64_t first = 0; first < sections_[i].block_count; first += kBlocksPerChunk) {
      if (control.cancelled) return ReadingAborted();
      const uint64_t count = std::min(kBlocksPerChunk, sections_[i].block_count - first);
      Status read = ReadSumsOfChunk(i, first, count, sums.data());
      if (!read.ok()) return read.failure();
      for (uint64_t block = 0; block < count; block++) {
        state.Add(i, first + block, sums.data() + block * kPagesPerBlock);
      }
    }
  }
  return state.value();
}

Status ImageFile::CheckSums() const {
  constexpr uint64_t kWindow = (uint64_t{1} << 20) / sizeof(PageSum);
  std::vector<PageSum> window(std::min(kWindow, trailer_.sum_count));
  RunningChecksum checksum;
  for (uint64_t done = 0; done < trailer_.sum_count;) {
    const uint64_t count = std::min(kWindow, trailer_.sum_count - done);
    if (Status read = ReadSums(done, count, window.data()); !read.ok()) return read;
    checksum.Update(window.data(), count * sizeof(PageSum));
    done += count;
  }
  if (checksum.Value() == trailer_.sums_checksum) return Success{};
  return Named(Corrupt(sums_offset(), "", "the sums of the pages do not match their checksum"));
}

std::span<const BlockEntry> ImageFile::EntriesOf(const Section& section, uint64_t first,
                                                 uint64_t count) const {
  const std::span<const BlockEntry> all(entries() + section.first_entry, section.entry_count);
  if (!is_delta()) return all.subspan(first, std::min(count, all.size() - first));
  const auto is_before = [](const BlockEntry& entry, uint64_t block) {
    return entry.block < block;
  };
  const auto from = std::lower_bound(all.begin(), all.end(), first, is_before);
  const auto to = std::lower_bound(from, all.end(), first + count, is_before);
  return {from, to};
}

const BlockEntry& ImageFile::EntryOf(const Section& section, uint64_t block) const {
  static constexpr BlockEntry kNothing{};
  const std::span<const BlockEntry> found = EntriesOf(section, block, 1);
  return found.empty() ? kNothing : found.front();
}

uint64_t ImageFile::FirstSumOf(const BlockEntry& entry) const {
  const auto position = static_cast<uint64_t>(&entry - entries());
  uint64_t sum = first_sums_[position / kBlocksPerChunk];
  for (uint64_t i = RoundDown(position, kBlocksPerChunk); i < position; i++) {
    sum += static_cast<uint64_t>(std::popcount(entries()[i].present));
  }
  return sum;
}

Status ImageFile::ReadSums(uint64_t first, uint64_t count, PageSum* out) const {
  return source_->Read(reinterpret_cast<std::byte*>(out), count * sizeof(PageSum),
                       sums_offset() + first * sizeof(PageSum), "");
}

Result<std::vector<PageSum>> ImageFile::SumsOf(std::span<const BlockEntry> entries) const {
  uint64_t count = 0;
  for (const BlockEntry& entry : entries) {
    count += static_cast<uint64_t>(std::popcount(entry.present));
  }
  std::vector<PageSum> sums(count);
  if (count == 0) return sums;
  Status read = ReadSums(FirstSumOf(entries.front()), count, sums.data());
  if (!read.ok()) return read.failure();
  return sums;
}

bool ImageFile::AllZero(uint32_t section, uint64_t first, uint64_t count) const {
  if (parent_) {
    // Pages that this file does not list are those of the parent.
    for (uint64_t block = first; block < first + count; block++) {
      const BlockEntry& entry = EntryOf(sections_[section], block);
      if (entry.present != 0) return false;
      if (entry.zero == PagesOfBlock(sections_[section].byte_length, block)) continue;
      const Section* in_parent = InParent(section);
      if (in_parent == nullptr || block >= in_parent->block_count) return false;
      if (!parent_->AllZero(in_parent_[section], block, 1)) return false;
    }
    return true;
  }
  return HoldsNothing(section, first, count);
}

bool ImageFile::HoldsNothing(uint32_t section, uint64_t first, uint64_t count) const {
  const std::span<const BlockEntry> entries = EntriesOf(sections_[section], first, count);
  return std::all_of(entries.begin(), entries.end(),
                     [](const BlockEntry& entry) { return StateOf(entry) == BlockState::kZero; });
}

Status ImageFile::CheckGapsOfChunk(uint32_t section, uint64_t first, uint64_t count,
                                   Scratch* scratch) const {
  return layout_->CheckGapsOfChunk(*this, section, first, count, scratch);
}

Status ImageFile::CheckOuterGaps(Scratch* scratch) const {
  Status zeros = CheckZeros(*source_, kPageSize, kPartAlignment - kPageSize, "", scratch);
  return zeros.ok() ? layout_->CheckOuterGaps(*this, scratch) : zeros;
}

Result<std::vector<ImageProblem>> ImageFile::Verify(size_t max_problems,
                                                    ReadControl* control) const {
  std::vector<ImageProblem> problems;
  for (const ImageFile* file = this; file != nullptr; file = file->parent()) {
    if (problems.size() == max_problems) return problems;
    Result<std::vector<ImageProblem>> found = ImageSweep(*file).Run(
        ImageSweep::Extent::kOwn, Check::kChecksums, max_problems - problems.size(), control);
    if (!found.ok()) return found;
    for (ImageProblem& problem : found.value()) {
      problem.reason = file->Named(Corrupt(0, "", std::move(problem.reason))).failure().message;
      problems.push_back(std::move(problem));
    }
  }
  if (!problems.empty()) return problems;
  Result<PageSum> state = StateOfSums(*control);
  if (!state.ok()) return state.failure();
  if (state.value() != trailer_.state) {
    const Failure wrong = WrongState();
    problems.push_back({static_cast<uint64_t>(wrong.offset), wrong.section, wrong.message});
  }
  return problems;
}

Failure ImageFile::WrongState() const {
  return Corrupt(trailer_.file_length - kPageSize, "",
                 parent_ ? "this file and those that it builds on do not add up to the memory "
                           "that was frozen"
                         : "the file does not hold the memory that was frozen");
}

Status ImageFile::ReadSection(uint32_t section_index, Check check, const Deliver& deliver,
                              ReadControl* control) const {
  const Section& section = sections_[section_index];
  Result<Scratch> scratch = MakeScratch();
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
