#include "image/saver.h"

#include <linux/futex.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/sys.h"
#include "image/block_codec.h"
#include "image/checksum.h"
#include "image/page_sums.h"

namespace stillframe {
namespace {

// Frozen bytes are copied one huge page at a time, so that an engine that lifts a
// protection after the copy need not split huge pages.
constexpr uint64_t kCopySize = uint64_t{2} << 20;
static_assert(kCopySize % kBlockSize == 0 && kChunkSize % kCopySize == 0);

// Longest sleep of a waiting saver, and so the time that it takes to notice that
// nobody needs it anymore.
constexpr int64_t kLongestSleepNs = 20'000'000;

// Number of pieces per second that a rate limit allows. Between two writes the disk is
// free for others.
constexpr uint64_t kPiecesPerSecond = 10;

class Saver {
 public:
  Saver(const SavePlan& plan, uint32_t number)
      : plan_(plan), control_(plan.control), buffers_(plan.buffers[number]) {
    if (plan.encoding.codec == Codec::kZstd) {
      compressor_.emplace(buffers_.workspace, plan.encoding.level);
    }
  }

  SaveEnd Run();

 private:
  std::optional<SaveEnd> EndedByOthers() const;
  std::optional<SaveEnd> WaitForSums();
  void Fail(int error_number);
  void Enter(SaveStep step, uint64_t offset);
  void Beat() { control_->heartbeat.fetch_add(1, std::memory_order_relaxed); }
  // All three return 0 or an errno: ECANCELED if the save has been ended by others.
  int SaveChunk(uint64_t chunk);
  int SaveFlat(const SaveSection& section, uint64_t start, uint64_t length);
  int SavePacked(const SaveSection& section, uint64_t start, uint64_t length);
  // What was found out about the page of a piece at this place in the chunk.
  CopiedPage* CopiedAt(uint64_t at) { return copied_ + at % kCopySize / kPageSize; }
  // Copies the frozen bytes from `at` on, if a piece of kCopySize begins there.
  void CopyPiece(uint64_t start, uint64_t at, uint64_t length);
  void Copy(uint64_t start, uint64_t at, uint64_t length);
  // Mask of the blocks of a piece that are known to be unchanged from the parent.
  uint64_t UnchangedBlocks(const SaveSection& section, uint64_t offset, uint64_t length) const;
  // The sums of the 64 pages of a block.
  PageSum* SumsOf(const BlockEntry* entry) const {
    return plan_.sums + static_cast<uint64_t>(entry - plan_.index) * kPagesPerBlock;
  }
  BlockEntry* BeginEntry(const SaveSection& section, uint64_t block);
  void Examine(const CopiedPage* copied, uint64_t length, BlockEntry* entry);
  // For a block that is unchanged from the parent: keeps the sums of the parent
  // without reading anything.
  void TakeOver(uint64_t length, const BlockEntry* entry);
  // Encodes the pages of one block to `out`. Returns the length of the result.
  uint64_t Pack(std::byte* bytes, uint64_t length, BlockEntry* entry, std::byte* out);
  void Pace(uint64_t bytes);
  uint64_t PieceOf(uint64_t length) const;
  int WriteAll(const std::byte* bytes, uint64_t length, uint64_t offset);

  const SavePlan& plan_;
  ControlHeader* const control_;
  const SaverBuffers& buffers_;
  std::optional<BlockCompressor> compressor_;
  uint32_t section_index_ = 0;
  uint64_t zero_pages_ = 0;     // in this chunk
  uint64_t changed_pages_ = 0;  // in this chunk
  uint64_t scanned_bytes_ = 0;  // in this chunk
  CopiedPage copied_[kCopySize / kPageSize] = {};
  // Current step and offset, for the report of an error.
  SaveStep step_ = SaveStep::kNone;
  uint64_t offset_ = 0;
};

void Saver::Fail(int error_number) {
  if (control_->error_taken.exchange(1, std::memory_order_relaxed) != 0) return;
  control_->error_step.store(step_, std::memory_order_relaxed);
  control_->error_offset.store(offset_, std::memory_order_relaxed);
  control_->error_number.store(error_number, std::memory_order_release);
}

void Saver::Enter(SaveStep step, uint64_t offset) {
  step_ = step;
  offset_ = offset;
  control_->step.store(step, std::memory_order_relaxed);
}

// Each write takes its time from the following ones. Unused time is not saved up, so there
// is no burst after a pause.
void Saver::Pace(uint64_t bytes) {
  if (plan_.pacing.max_bytes_per_second == 0) return;
  const auto cost_ns = static_cast<int64_t>(static_cast<double>(bytes) * 1e9 /
                                            static_cast<double>(plan_.pacing.max_bytes_per_second));
  int64_t now_ns = sys::MonotonicNanoseconds();
  int64_t next_ns = control_->next_write_ns.load(std::memory_order_relaxed);
  int64_t mine_ns = 0;
  do {
    mine_ns = std::max(next_ns, now_ns);
  } while (!control_->next_write_ns.compare_exchange_weak(next_ns, mine_ns + cost_ns,
                                                          std::memory_order_relaxed));
  for (; now_ns < mine_ns; now_ns = sys::MonotonicNanoseconds()) {
    if (control_->abort_requested.load(std::memory_order_relaxed) != 0) return;
    if (plan_.interrupted != nullptr && plan_.interrupted(plan_.interrupted_context)) return;
    const timespec rest{0, std::min(kLongestSleepNs, mine_ns - now_ns)};
    sys::Futex(&control_->abort_requested, FUTEX_WAIT, 0, &rest);
    Beat();  // a saver that waits for its turn has not stalled
  }
}

// Number of bytes to write at once: under a limit, what the limit allows in a small
// part of a second.
uint64_t Saver::PieceOf(uint64_t length) const {
  if (plan_.pacing.max_bytes_per_second == 0) return length;
  return std::max(RoundDown(plan_.pacing.max_bytes_per_second / kPiecesPerSecond, kPageSize),
                  kPageSize);
}

// Offset, length and buffer of each write are page-aligned, even after a short write.
int Saver::WriteAll(const std::byte* bytes, uint64_t length, uint64_t offset) {
  Enter(SaveStep::kWriting, offset);
  const uint64_t piece = PieceOf(length);
  uint64_t done = 0;
  uint64_t paid = 0;
  while (done < length) {
    const uint64_t count = std::min(piece, length - done);
    if (done >= paid) {
      Pace(count);
      paid = done + count;
    }
    // Under a rate limit the rest may consist of a thousand small writes.
    if (EndedByOthers()) return ECANCELED;
    const int64_t wrote = plan_.sink->Write(bytes + done, count, offset + done);
    if (wrote < 0) return static_cast<int>(-wrote);
    // After a short write, continue at a page boundary, as O_DIRECT requires. The next
    // call reports the error.
    const auto written = static_cast<uint64_t>(wrote);
    const uint64_t whole = RoundDown(written, kPageSize);
    done += whole > 0 ? whole : written;
    control_->bytes_written.fetch_add(whole > 0 ? whole : written, std::memory_order_relaxed);
    Beat();
  }
  return 0;
}

const SaveSection& SectionOfChunk(const SavePlan& plan, uint64_t chunk, uint32_t* section_index) {
  uint32_t low = 0;
  uint32_t high = plan.section_count;
  // Finds the last section that starts at or before the chunk. Empty sections start
  // where the next section does.
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (plan.sections[middle].first_chunk <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  *section_index = low;
  return plan.sections[low];
}

void Saver::CopyPiece(uint64_t start, uint64_t at, uint64_t length) {
  if (at % kCopySize != 0) return;
  Copy(start, at, std::min(kCopySize, length - at));
}

void Saver::Copy(uint64_t start, uint64_t at, uint64_t length) {
  plan_.pages->CopyFrozen(section_index_, start + at, length, buffers_.bounce + at, CopiedAt(at));
  scanned_bytes_ += length;
}

uint64_t Saver::UnchangedBlocks(const SaveSection& section, uint64_t offset,
                                uint64_t length) const {
  if (!plan_.delta) return 0;
  if (plan_.pages->Unchanged(section_index_, offset, length)) return ~uint64_t{0};
  if (plan_.as_mapped == nullptr) return 0;
  uint64_t unchanged = 0;
  const uint64_t first = offset / kBlockSize;
  for (uint64_t i = 0; i < BlockCount(length); i++) {
    const uint64_t block = first + i;
    const uint64_t in_block = std::min(kBlockSize, offset + length - block * kBlockSize);
    // The parent must have all pages of the block as they are in the mapped file.
    const uint64_t all = PagesOfBlock(section.byte_length, block);
    if ((plan_.as_mapped[section.first_entry + block] & all) != all) continue;
    if (!plan_.pages->StillOfFile(section_index_, block * kBlockSize, in_block)) continue;
    unchanged |= uint64_t{1} << i;
  }
  return unchanged;
}

BlockEntry* Saver::BeginEntry(const SaveSection& section, uint64_t block) {
  BlockEntry* entry = &plan_.index[section.first_entry + block];
  *entry = BlockEntry{};
  entry->section = section_index_;
  entry->block = static_cast<uint32_t>(block);
  return entry;
}

int Saver::SaveFlat(const SaveSection& section, uint64_t start, uint64_t length) {
  // Each run of blocks that are not all zero is written with one call. Other blocks remain holes.
  uint64_t run_start = 0;
  uint64_t run_length = 0;
  const auto write_run = [&]() -> int {
    if (run_length == 0) return 0;
    const uint64_t bytes = std::exchange(run_length, 0);
    return WriteAll(buffers_.bounce + run_start, bytes, section.data_offset + start + run_start);
  };
  for (uint64_t at = 0; at < length; at += kBlockSize) {
    CopyPiece(start, at, length);
    const uint64_t block = (start + at) / kBlockSize;
    const uint64_t block_length = PaddedBlockLength(section.byte_length, block);
    BlockEntry* entry = BeginEntry(section, block);
    Examine(CopiedAt(at), block_length, entry);
    Beat();
    if (entry->present == 0) {
      if (const int error = write_run()) return error;
      continue;
    }
    entry->checksum = ChecksumOfSums(SumsOf(entry), entry->present);
    entry->file_offset = section.data_offset + start + at;
    entry->stored_length = static_cast<uint32_t>(block_length);
    if (run_length == 0) run_start = at;
    run_length += block_length;
  }
  return write_run();
}

// Records which pages of a block are zero and which differ from the parent, and their sums.
void Saver::Examine(const CopiedPage* copied, uint64_t length, BlockEntry* entry) {
  PageSum* sums = SumsOf(entry);
  const uint64_t pages = length / kPageSize;
  uint64_t present = 0;
  uint64_t changed = 0;
  for (uint64_t page = 0; page < pages; page++) {
    const uint64_t bit = uint64_t{1} << page;
    if (!copied[page].zero) present |= bit;
    if (!plan_.delta || copied[page].sum != sums[page]) changed |= bit;
    sums[page] = copied[page].sum;
  }
  std::fill(sums + pages, sums + kPagesPerBlock, PageSum{0, 0});  // pages that do not exist
  entry->present = present & changed;
  entry->zero = ~present & changed;
  zero_pages_ += pages - static_cast<uint64_t>(std::popcount(present));
  changed_pages_ += static_cast<uint64_t>(std::popcount(changed));
}

void Saver::TakeOver(uint64_t length, const BlockEntry* entry) {
  PageSum* sums = SumsOf(entry);
  PageSum* const end = sums + length / kPageSize;
  zero_pages_ += static_cast<uint64_t>(std::count(sums, end, PageSum{0, 0}));
  std::fill(end, sums + kPagesPerBlock, PageSum{0, 0});  // pages that do not exist
}

uint64_t Saver::Pack(std::byte* bytes, uint64_t length, BlockEntry* entry, std::byte* out) {
  if (entry->present == 0) return 0;
  // Only pages that are neither zero nor unchanged from the parent are stored, without gaps.
  uint64_t dense = 0;
  for (uint64_t page = 0; page < length / kPageSize; page++) {
    if ((entry->present >> page & 1) == 0) continue;
    if (dense != page) memcpy(bytes + dense * kPageSize, bytes + page * kPageSize, kPageSize);
    dense++;
  }
  const uint64_t dense_length = dense * kPageSize;
  uint64_t stored = compressor_ ? compressor_->Compress(bytes, dense_length, out) : 0;
  entry->codec = stored != 0 ? Codec::kZstd : Codec::kNone;
  if (stored == 0) {
    memcpy(out, bytes, dense_length);
    stored = dense_length;
  }
  entry->stored_length = static_cast<uint32_t>(stored);
  entry->checksum = entry->codec == Codec::kNone ? ChecksumOfSums(SumsOf(entry), entry->present)
                                                 : Checksum(out, stored);
  return stored;
}

int Saver::SavePacked(const SaveSection& section, uint64_t start, uint64_t length) {
  uint64_t packed = 0;
  uint64_t unchanged = 0;  // mask of the unchanged blocks of this piece
  for (uint64_t at = 0; at < length; at += kBlockSize) {
    // At a high level, compressing a whole chunk takes seconds.
    if (EndedByOthers()) return ECANCELED;
    if (at % kCopySize == 0) {
      unchanged = UnchangedBlocks(section, start + at, std::min(kCopySize, length - at));
    }
    const uint64_t block = (start + at) / kBlockSize;
    BlockEntry* entry = BeginEntry(section, block);
    const uint64_t block_length = PaddedBlockLength(section.byte_length, block);
    if ((unchanged >> at % kCopySize / kBlockSize & 1) != 0) {
      TakeOver(block_length, entry);
      Beat();
      continue;
    }
    if (unchanged == 0) {
      CopyPiece(start, at, length);
    } else {
      Copy(start, at, std::min(kBlockSize, length - at));
    }
    Examine(CopiedAt(at), block_length, entry);
    const uint64_t stored =
        Pack(buffers_.bounce + at, block_length, entry, buffers_.packed + packed);
    if (stored != 0)
      entry->file_offset = packed;  // within the chunk, whose own offset is added below
    packed += stored;
    Beat();
  }
  if (packed == 0) return 0;
  const uint64_t padded = RoundUp(packed, kPageSize);
  memset(buffers_.packed + packed, 0, padded - packed);
  const uint64_t offset = control_->file_tail.fetch_add(padded, std::memory_order_relaxed);
  for (uint64_t at = 0; at < length; at += kBlockSize) {
    BlockEntry& entry = plan_.index[section.first_entry + (start + at) / kBlockSize];
    if (entry.present != 0) entry.file_offset += offset;
  }
  return WriteAll(buffers_.packed, padded, offset);
}

int Saver::SaveChunk(uint64_t chunk) {
  const SaveSection& section = SectionOfChunk(plan_, chunk, &section_index_);
  const uint64_t start = (chunk - section.first_chunk) * kChunkSize;
  const uint64_t length = std::min(section.byte_length - start, kChunkSize);
  zero_pages_ = 0;
  changed_pages_ = 0;
  scanned_bytes_ = 0;
  Enter(SaveStep::kReading, start);
  memset(buffers_.bounce + length, 0, RoundUp(length, kPageSize) - length);
  const int error = plan_.encoding.layout == Layout::kPacked ? SavePacked(section, start, length)
                                                             : SaveFlat(section, start, length);
  if (error != 0) return error;
  Enter(SaveStep::kReleasing, start);
  plan_.pages->Release(section_index_, start, length);
  control_->zero_pages.fetch_add(zero_pages_, std::memory_order_relaxed);
  control_->changed_pages.fetch_add(changed_pages_, std::memory_order_relaxed);
  control_->scanned_bytes.fetch_add(scanned_bytes_, std::memory_order_relaxed);
  control_->bytes_done.fetch_add(length, std::memory_order_relaxed);
  return 0;
}

std::optional<SaveEnd> Saver::EndedByOthers() const {
  if (control_->abort_requested.load(std::memory_order_relaxed) != 0) return SaveEnd::kAborted;
  if (control_->error_number.load(std::memory_order_relaxed) != 0) return SaveEnd::kFailed;
  if (plan_.interrupted != nullptr && plan_.interrupted(plan_.interrupted_context)) {
    return SaveEnd::kInterrupted;
  }
  return std::nullopt;
}

// The sums of the parent are read only after the memory has been frozen.
std::optional<SaveEnd> Saver::WaitForSums() {
  Enter(SaveStep::kWaitForSums, 0);
  while (control_->sums_ready.load(std::memory_order_acquire) == 0) {
    if (const std::optional<SaveEnd> end = EndedByOthers()) return end;
    const timespec rest{0, kLongestSleepNs};
    sys::Futex(&control_->sums_ready, FUTEX_WAIT, 0, &rest);
  }
  return std::nullopt;
}

SaveEnd Saver::Run() {
  if (plan_.delta) {
    if (const std::optional<SaveEnd> end = WaitForSums()) return *end;
  }
  for (;;) {
    if (const std::optional<SaveEnd> end = EndedByOthers()) return *end;
    const uint64_t chunk = plan_.pages->NextChunk(control_, plan_.chunk_count);
    if (chunk >= plan_.chunk_count) return SaveEnd::kComplete;
    if (const int error = SaveChunk(chunk)) {
      if (const std::optional<SaveEnd> end = EndedByOthers()) return *end;
      Fail(error);
      return SaveEnd::kFailed;
    }
  }
}

}  // namespace

uint64_t PageSource::NextChunk(ControlHeader* control, uint64_t /*chunk_count*/) {
  return control->next_chunk.fetch_add(1, std::memory_order_relaxed);
}

bool PageSource::Unchanged(uint32_t /*section*/, uint64_t /*offset*/, uint64_t /*length*/) const {
  return false;
}

bool PageSource::StillOfFile(uint32_t /*section*/, uint64_t /*offset*/, uint64_t /*length*/) const {
  return false;
}

SaveEnd SaveChunks(const SavePlan& plan, uint32_t saver) {
  // Where processors are scarce, the service takes precedence.
  sys::BeNice(plan.pacing.nice);
  // A write beyond the end of a file has the file to itself. If the file has its full length
  // from the start, several writes can run in parallel. If the file cannot be extended (a
  // limit on file sizes), the writes report it. A saver does this because savers are
  // supervised: the disk may be stuck.
  if (saver == 0 && plan.data_end != 0) plan.sink->Extend(plan.data_end);
  return Saver(plan, saver).Run();
}

SaveEnd WorseEnd(SaveEnd a, SaveEnd b) {
  static_assert(SaveEnd::kComplete < SaveEnd::kAborted &&
                SaveEnd::kAborted < SaveEnd::kInterrupted &&
                SaveEnd::kInterrupted < SaveEnd::kFailed);
  return std::max(a, b);
}

}  // namespace stillframe
