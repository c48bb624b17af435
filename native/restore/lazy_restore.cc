#include "restore/lazy_restore.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "base/sys.h"
#include "image/read_failure.h"
#include "memory/huge_pages.h"
#include "memory/page.h"
#include "restore/section_choice.h"

namespace stillframe {
namespace {

// For this long after a touch, more are likely, and the background reads only this much at a time.
constexpr std::chrono::nanoseconds kAfterTouches{100'000'000};
constexpr size_t kAheadOfTouches = 2;
constexpr uint64_t kBlocksAheadOfTouches = 2;

}  // namespace

LazyRestore::LazyRestore(ImageFile image, const RestorePlan& plan, Reads reads)
    : image_(std::move(image)),
      check_(plan.verify ? ImageFile::Check::kChecksums : ImageFile::Check::kNone),
      sums_state_(plan.verify && image_->parent() != nullptr && !plan.sections),
      reads_(std::move(reads)),
      last_touch_ns_(sys::MonotonicNanoseconds()) {}

LazyRestore::~LazyRestore() {
  Cancel(ReadingAborted());
  (void)Finish();
}

Result<std::shared_ptr<LazyRestore>> LazyRestore::Start(ImageFile image, const RestorePlan& plan,
                                                        Reads reads) {
  Result<std::vector<uint32_t>> sections = ChooseSections(image, plan);
  if (!sections.ok()) return sections.failure();
  std::shared_ptr<LazyRestore> lazy(new LazyRestore(std::move(image), plan, std::move(reads)));
  if (Status made = lazy->MakeRegions(sections.value()); !made.ok()) return made.failure();
  lazy->Plan(plan.first_uses);
  if (Status started = lazy->StartThreads(); !started.ok()) return started.failure();
  return lazy;
}

Status LazyRestore::MakeRegions(const std::vector<uint32_t>& sections) {
  Result<std::unique_ptr<MissingPages>> pages = MissingPages::Create();
  if (!pages.ok()) return pages.failure();
  pages_ = std::move(pages.value());
  uint64_t total = 0;
  for (const uint32_t index : sections) {
    const ImageFile::Section& section = image_->sections()[index];
    Result<std::shared_ptr<RegionMemory>> memory =
        RegionMemory::Allocate(section.byte_length, true);
    if (!memory.ok()) return memory.failure();
    RegionMemory& region = *memory.value();
    region.SetFilling(true);
    if (section.byte_length > 0) {
      Status registered = pages_->Register(region.data(), section.byte_length);
      if (!registered.ok()) return registered;
    }
    std::vector<State> blocks(section.block_count, State::kMissing);
    for (uint64_t block = 0; block < section.block_count; block++) {
      if (image_->AllZero(index, block, 1)) blocks[block] = State::kZero;
    }
    missing_ += static_cast<uint64_t>(std::count(blocks.begin(), blocks.end(), State::kMissing));
    parts_.push_back({index, region.data(), std::move(blocks)});
    uses_.emplace_back(memory.value());
    regions_.push_back({section.name, std::move(memory.value())});
    total += section.byte_length;
  }
  not_taken_ = missing_;
  control.bytes_total = total;
  return Success{};
}

void LazyRestore::Plan(const std::vector<FirstUse>& uses) {
  std::map<std::string, size_t> parts;
  for (size_t i = 0; i < regions_.size(); i++) parts.emplace(regions_[i].section, i);
  for (const FirstUse& use : uses) {
    const auto found = parts.find(use.section);
    if (found == parts.end()) continue;
    const uint64_t block = use.offset / kBlockSize;
    if (block < parts_[found->second].blocks.size()) first_uses_.push_back({found->second, block});
  }
  planned_ = first_uses_.size();
}

std::vector<FirstUse> LazyRestore::FirstUses() const {
  const std::lock_guard lock(mutex_);
  std::vector<FirstUse> uses;
  std::vector<std::vector<bool>> known;
  for (const Part& part : parts_) known.emplace_back(part.blocks.size());
  for (const auto& [part, block] : first_uses_) {
    // The block was planned and waited for before its turn came, or the plan has it twice.
    if (known[part][block]) continue;
    known[part][block] = true;
    uses.push_back({regions_[part].section, block * kBlockSize});
  }
  return uses;
}

Status LazyRestore::StartThreads() {
  if (Status started = toucher_.Start("stillframe-flt", [this] { AnswerTouches(); }); !started.ok())
    return started;
  const size_t count = reads_.background + reads_.urgent;
  for (size_t i = 0; i < count; i++) {
    const bool urgent = i < reads_.urgent;
    loaders_.push_back(std::make_unique<Thread>());
    Status started = loaders_.back()->Start("stillframe-read", [this, urgent] { Load(urgent); });
    // One thread of each kind is required.
    if (!started.ok() && i <= reads_.urgent) return started;
  }
  return Success{};
}

void LazyRestore::AnswerTouches() {
  while (const std::optional<std::byte*> address = pages_->NextTouch()) Touched(*address);
  if (pages_->failed()) {
    Fail(stillframe::Fail(FailureCode::kIo, "the kernel no longer tells which pages are touched"));
  }
}

void LazyRestore::Touched(std::byte* address) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < parts_.size(); i++) {
    Part& part = parts_[i];
    if (address < part.start || address >= part.start + part.blocks.size() * kBlockSize) continue;
    const auto block = static_cast<uint64_t>(address - part.start) / kBlockSize;
    std::byte* const start = part.start + block * kBlockSize;
    switch (part.blocks[block]) {
      case State::kZero:
        pages_->FillWithZeros(start, LengthInMemory(part, block));
        break;
      case State::kThere:
        pages_->Wake(start, LengthInMemory(part, block));
        break;
      case State::kUrgent:
        break;
      case State::kMissing:
        not_taken_--;
        [[fallthrough]];
      case State::kTaken:
        part.blocks[block] = State::kUrgent;
        urgent_.push_back({i, block, 1});
        last_touch_ns_ = sys::MonotonicNanoseconds();
        first_uses_.push_back({i, block});
        // The next use is likely to be right after this block.
        next_ = {i, block};
        changed_.notify_all();
    }
    return;
  }
}

std::optional<LazyRestore::Piece> LazyRestore::TakeUrgent() {
  if (urgent_.empty()) return std::nullopt;
  const Piece piece = urgent_.front();
  urgent_.pop_front();
  return piece;
}

// Reading ahead takes time from the threads that wait.
bool LazyRestore::IsQuiet() const {
  return sys::MonotonicNanoseconds() - last_touch_ns_ > kAfterTouches.count();
}

std::optional<LazyRestore::Place> LazyRestore::NextOfPlan() {
  while (next_planned_ < planned_) {
    const Place place = first_uses_[next_planned_++];
    if (parts_[place.part].blocks[place.block] == State::kMissing) return place;
  }
  return std::nullopt;
}

bool LazyRestore::PlanGoesOn(const Place& place) {
  if (next_planned_ == planned_) return false;
  const Place& next = first_uses_[next_planned_];
  if (next.part != place.part || next.block != place.block) return false;
  next_planned_++;
  return true;
}

LazyRestore::Place LazyRestore::NextPlace() {
  auto [part, block] = next_;
  while (block >= parts_[part].blocks.size() || parts_[part].blocks[block] != State::kMissing) {
    if (++block < parts_[part].blocks.size()) continue;
    part = (part + 1) % parts_.size();
    block = 0;
  }
  return {part, block};
}

std::optional<LazyRestore::Piece> LazyRestore::TakeNext() {
  const bool quiet = IsQuiet();
  if (not_taken_ == 0 || (!quiet && ahead_ >= kAheadOfTouches)) return std::nullopt;
  ahead_++;
  const std::optional<Place> planned = NextOfPlan();
  const auto [index, block] = planned ? *planned : NextPlace();
  std::vector<State>& blocks = parts_[index].blocks;
  const uint64_t chunk_end =
      std::min<uint64_t>(RoundDown(block, kBlocksPerChunk) + kBlocksPerChunk, blocks.size());
  const uint64_t most = quiet ? kBlocksPerChunk : kBlocksAheadOfTouches;
  uint64_t end = block;
  do {
    blocks[end++] = State::kTaken;
  } while (end < std::min(chunk_end, block + most) && blocks[end] == State::kMissing &&
           (!planned || PlanGoesOn({index, end})));
  not_taken_ -= end - block;
  if (!planned) next_ = {index, end};
  return Piece{index, block, end - block, true};
}

std::optional<LazyRestore::Piece> LazyRestore::Take(bool urgent) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopped_ || missing_ == 0) return std::nullopt;
    if (std::optional<Piece> piece = TakeUrgent()) return piece;
    if (!urgent) {
      if (std::optional<Piece> piece = TakeNext()) return piece;
    }
    // There is no notification when enough time has passed.
    changed_.wait_for(lock, kAfterTouches);
  }
}

void LazyRestore::Load(bool urgent) {
  Result<ImageFile::Scratch> scratch = image_->MakeScratch();
  if (!scratch.ok()) {
    Fail(scratch.failure());
    return;
  }
  StateSum state;
  while (const std::optional<Piece> piece = Take(urgent)) {
    Status filled = FillPiece(*piece, &scratch.value(), &state);
    if (piece->ahead) {
      const std::lock_guard lock(mutex_);
      ahead_--;
      changed_.notify_all();
    }
    if (!filled.ok()) {
      Fail(filled.failure());
      return;
    }
  }
  const std::lock_guard lock(mutex_);
  state_.Add(state);
}

uint64_t LazyRestore::LengthInMemory(const Part& part, uint64_t block) const {
  const uint64_t length = image_->sections()[part.section].byte_length;
  return std::min(kBlockSize, RoundUp(length, SystemPageSize()) - block * kBlockSize);
}

Status LazyRestore::FillPiece(const Piece& piece, ImageFile::Scratch* scratch, StateSum* state) {
  Part& part = parts_[piece.part];
  const uint64_t length = image_->sections()[part.section].byte_length;
  std::byte* const bytes = scratch->chunk();
  Status read = image_->ReadBlocks(part.section, piece.first, piece.count, bytes, check_, scratch);
  if (!read.ok()) return read;
  for (uint64_t block = piece.first; block < piece.first + piece.count; block++) {
    std::byte* const from = bytes + (block - piece.first) * kBlockSize;
    const uint64_t padded = PaddedBlockLength(length, block);
    const uint64_t in_memory = LengthInMemory(part, block);
    memset(from + padded, 0, in_memory - padded);  // pages may be larger than those of the format
    const int error = pages_->Fill(part.start + block * kBlockSize, from, in_memory);
    if (error < 0) return SystemFailure("ioctl", -error, "cannot fill pages of a region");
    {
      const std::lock_guard lock(mutex_);
      if (part.blocks[block] == State::kThere) continue;
      part.blocks[block] = State::kThere;
      missing_--;
    }
    control.bytes_done += std::min(kBlockSize, length - block * kBlockSize);
    if (sums_state_) state->AddPages(part.section, block, from, padded);
  }
  const std::lock_guard lock(mutex_);
  if (missing_ == 0) changed_.notify_all();
  return Success{};
}

void LazyRestore::Fail(Failure failure) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_ || missing_ == 0) return;
    stopped_ = true;
    failure_ = std::move(failure);
    changed_.notify_all();
  }
  reads_.stop();
}

void LazyRestore::Cancel(Failure why) { Fail(std::move(why)); }

// False if missing pages can still be touched.
bool LazyRestore::CloseWhatIsMissing() {
  bool all_closed = true;
  const auto close = [](std::byte* start, size_t length) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return !sys::IsError(sys::Mmap(start, length, PROT_NONE, flags, -1, 0));
  };
  for (const Part& part : parts_) {
    const auto missing = [&](uint64_t block) {
      return part.blocks[block] != State::kThere && part.blocks[block] != State::kZero;
    };
    bool closed = true;
    for (uint64_t block = 0; closed && block < part.blocks.size();) {
      uint64_t end = block;
      uint64_t length = 0;
      while (end < part.blocks.size() && missing(end)) length += LengthInMemory(part, end++);
      if (length > 0) closed = close(part.start + block * kBlockSize, length);
      block = std::max(end, block + 1);
    }
    // The process may not be allowed that many mappings. Then the whole part becomes inaccessible.
    const uint64_t whole = RoundUp(image_->sections()[part.section].byte_length, SystemPageSize());
    if (!closed) closed = close(part.start, whole);
    if (closed) pages_->Wake(part.start, whole);
    all_closed = all_closed && closed;
  }
  return all_closed;
}

// The service may be waiting for a page, and could then never report the failure.
void LazyRestore::TellWhatIsMissing() const {
  if (failure_->code == FailureCode::kAborted) return;
  const std::string message =
      "stillframe: memory that is being restored cannot be read: " + failure_->message +
      ". What is not there yet cannot be touched: a program that does ends by SIGSEGV\n";
  sys::Write(STDERR_FILENO, message.data(), message.size());
}

Status LazyRestore::Finish() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || missing_ == 0; });
  }
  for (const std::unique_ptr<Thread>& loader : loaders_) loader->Join();
  if (pages_) pages_->Stop();
  toucher_.Join();
  std::vector<std::shared_ptr<RegionMemory>> regions;
  const std::lock_guard lock(mutex_);
  if (!ended_) {
    if (failure_) {
      TellWhatIsMissing();
      // A thread that touches a missing page then waits forever, but no thread ever
      // sees wrong bytes.
      if (!CloseWhatIsMissing()) (void)pages_.release();
    }
    if (pages_) pages_->End();
    for (const RestoredRegion& region : regions_) {
      region.memory->SetFilling(false);
      regions.push_back(region.memory);
    }
    // The regions were filled in small pages.
    if (!failure_) CollapseInBackground(std::move(regions));
    uses_.clear();
    if (!failure_ && sums_state_ && state_.value() != image_->trailer().state) {
      failure_ = image_->WrongState();
    }
    if (!failure_) control.bytes_done = control.bytes_total.load();
    ended_ = true;
    changed_.notify_all();
  }
  if (adopted_) image_.reset();
  if (failure_) return *failure_;
  return Success{};
}

void LazyRestore::Adopt() {
  const std::lock_guard lock(mutex_);
  adopted_ = true;
  if (ended_) image_.reset();
}

void LazyRestore::AwaitEnd() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_; });
}

}  // namespace stillframe
