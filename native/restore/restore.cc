#include "restore/restore.h"

#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "image/image_sweep.h"
#include "image/read_failure.h"
#include "memory/mapping_budget.h"
#include "memory/prefetch.h"
#include "restore/overlay.h"
#include "restore/section_choice.h"

namespace stillframe {
namespace {

class RestoreWork {
 public:
  RestoreWork(const ImageFile& image, const RestorePlan& plan, ReadControl* control)
      : image_(image),
        plan_(plan),
        control_(control),
        check_(plan.verify ? ImageFile::Check::kChecksums : ImageFile::Check::kNone),
        sweep_(image) {
    restored_.mapped = image.base().mappable() && plan.mode != RestoreMode::kCopy;
    for (const Destination& destination : plan.into) {
      destinations_.emplace(destination.section, &destination);
    }
  }

  Result<RestoredFile> Run();

 private:
  Status CheckMode() const;
  // The destination of a section; null if the section becomes a region.
  const Destination* DestinationOf(uint32_t index) const;
  Status MakeRegion(uint32_t index);
  // Lays the pages that are newer than the full file over a region that is a mapping of that file.
  Status LayOver(uint32_t index, RegionMemory* region);
  // Gives each section its memory. Destinations with `fill` are filled later.
  Status Prepare(const std::vector<uint32_t>& chosen);
  Status FillByHand(const std::vector<uint32_t>& chosen) const;
  // Runs the sweep, and fails with the first damage that it finds.
  Status Sweep(ImageSweep* sweep, ImageSweep::Extent extent) const;
  void Prefetch() const;

  const ImageFile& image_;
  const RestorePlan& plan_;
  ReadControl* const control_;
  const ImageFile::Check check_;
  std::unordered_map<std::string_view, const Destination*> destinations_;  // by section
  ImageSweep sweep_;
  std::vector<std::vector<uint64_t>> to_read_;  // pages for the sweep to read
  std::optional<uint64_t> runs_left_;           // runs that may still be mapped
  bool fills_ = false;                          // the sweep has something to fill
  RestoredFile restored_;
};

Status RestoreWork::CheckMode() const {
  if (plan_.mode != RestoreMode::kMap || image_.base().mappable()) return Success{};
  return Fail(FailureCode::kNotMappable,
              "a compressed (packed) file cannot be mapped: restore it with mode 'copy', or into "
              "existing memory");
}

const Destination* RestoreWork::DestinationOf(uint32_t index) const {
  const auto found = destinations_.find(image_.sections()[index].name);
  return found != destinations_.end() ? found->second : nullptr;
}

Status RestoreWork::MakeRegion(uint32_t index) {
  const ImageFile::Section& section = image_.sections()[index];
  // An empty section has a page of zeros, which cannot be mapped from a file that has none. Of a
  // chain, only what the full file has can be mapped; newer pages then take its place.
  const ImageFile& base = image_.base();
  const ImageFile::Section* in_base = image_.InFrame(base, index);
  const bool map = restored_.mapped && section.byte_length > 0 && in_base != nullptr &&
                   in_base->byte_length == section.byte_length;
  Result<std::shared_ptr<RegionMemory>> memory =
      map ? RegionMemory::MapFile(base.source().fd(), in_base->data_offset, section.byte_length)
          : RegionMemory::Allocate(section.byte_length, true);
  if (!memory.ok()) return memory.failure();
  if (map) {
    MappedSection from{{}, section.name};
    memcpy(from.frame.data(), image_.header().id, from.frame.size());
    memory.value()->SetMappedFrom(std::move(from));
  }
  if (map && image_.parent() != nullptr) {
    if (Status laid = LayOver(index, memory.value().get()); !laid.ok()) return laid;
  } else if (!map) {
    sweep_.Fill(index, memory.value()->data(), ImageSweep::Way::kStraight);
    fills_ = true;
  }
  restored_.regions.push_back({section.name, std::move(memory.value())});
  return Success{};
}

Status RestoreWork::LayOver(uint32_t index, RegionMemory* region) {
  // Each run adds up to two mappings, and most of the budget must be left to the service. Counted
  // once, for all sections.
  constexpr uint64_t kPartOfMappings = 8;
  if (!runs_left_) {
    runs_left_ = (plan_.max_mappings ? *plan_.max_mappings : MappingBudget()) / kPartOfMappings;
  }
  Overlay overlay = PlanOverlay(image_, index, *runs_left_);
  *runs_left_ -= overlay.runs.size();
  for (const OverlayRun& run : overlay.runs) {
    Status mapped =
        region->MapOver(run.offset, run.length, run.file->source().fd(), run.file_offset);
    if (!mapped.ok()) return mapped;
  }
  to_read_.push_back(std::move(overlay.to_read));
  sweep_.FillPages(index, region->data(), to_read_.back().data());
  fills_ = true;
  return Success{};
}

Status RestoreWork::Prepare(const std::vector<uint32_t>& chosen) {
  for (const uint32_t index : chosen) {
    const Destination* destination = DestinationOf(index);
    if (destination == nullptr) {
      if (Status made = MakeRegion(index); !made.ok()) return made;
      continue;
    }
    restored_.regions.push_back({destination->section, nullptr});
    if (destination->fill) continue;
    sweep_.Fill(index, destination->region.get()->data(), ImageSweep::Way::kByHand);
    fills_ = true;
  }
  return Success{};
}

Status RestoreWork::FillByHand(const std::vector<uint32_t>& chosen) const {
  for (const uint32_t index : chosen) {
    const Destination* destination = DestinationOf(index);
    if (destination == nullptr || !destination->fill) continue;
    Status filled = image_.ReadSection(index, check_, destination->fill, control_);
    if (!filled.ok()) return filled;
  }
  return Success{};
}

Status RestoreWork::Sweep(ImageSweep* sweep, ImageSweep::Extent extent) const {
  control_->bytes_done = 0;
  Result<std::vector<ImageProblem>> problems = sweep->Run(extent, check_, 1, control_);
  if (!problems.ok()) return problems.failure();
  if (problems.value().empty()) return Success{};
  const ImageProblem& first = problems.value().front();
  return Corrupt(first.offset, first.section, first.reason);
}

void RestoreWork::Prefetch() const {
  if (!plan_.prefetch || !restored_.mapped) return;
  std::vector<std::shared_ptr<RegionMemory>> regions;
  for (const RestoredRegion& region : restored_.regions) {
    if (region.memory) regions.push_back(region.memory);
  }
  PrefetchInBackground(std::move(regions));
}

Result<RestoredFile> RestoreWork::Run() {
  if (Status mode = CheckMode(); !mode.ok()) return mode.failure();
  Result<std::vector<uint32_t>> chosen = ChooseSections(image_, plan_);
  if (!chosen.ok()) return chosen.failure();
  // Checks all of the file before a byte of it is handed out. Fresh memory is not handed out before
  // it is filled, so one pass through the file does both there. A remote file is not fetched twice:
  // each chunk is checked before it is filled, and existing memory may already hold some chunks
  // when another one is found damaged.
  const bool far = image_.source().reads_at_once() > 0;
  const bool check_first = plan_.verify && (restored_.mapped || (!plan_.into.empty() && !far));
  if (check_first) {
    ImageSweep check(image_);
    Status checked = Sweep(&check, ImageSweep::Extent::kFile);
    if (!checked.ok()) return checked.failure();
  }
  if (Status ready = Prepare(chosen.value()); !ready.ok()) return ready.failure();
  const bool check_now = plan_.verify && !check_first;
  if (fills_ || check_now) {
    Status filled =
        Sweep(&sweep_, check_now ? ImageSweep::Extent::kFile : ImageSweep::Extent::kFilled);
    if (!filled.ok()) return filled.failure();
  }
  if (Status filled = FillByHand(chosen.value()); !filled.ok()) return filled.failure();
  Prefetch();
  return std::move(restored_);
}

}  // namespace

Result<RestoredFile> Restore(const ImageFile& image, const RestorePlan& plan,
                             ReadControl* control) {
  return RestoreWork(image, plan, control).Run();
}

}  // namespace stillframe
