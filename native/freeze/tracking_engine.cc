#include "freeze/tracking_engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "memory/page.h"

namespace stillframe {

Status TrackingEngine::PrepareProtection(const FreezePlan& plan) {
  plan_ = &plan;
  record_ = std::make_shared<FrameRecord>();
  for (const FreezeSource& source : plan.sources) {
    if (source.byte_length == 0) continue;
    if (!source.region || source.data != source.region->data() ||
        source.byte_length != source.region->byte_length()) {
      return Fail(FailureCode::kEngineUnavailable, "only whole Regions can be kept record of");
    }
    std::shared_ptr<TrackedRegion> tracked = TrackedRegion::Of(*source.region);
    if (!tracked) {
      Result<std::shared_ptr<TrackedRegion>> made = TrackedRegion::Create(*source.region);
      if (!made.ok()) return made.failure();
      tracked = std::move(made.value());
    }
    parts_.push_back({&source, std::move(tracked), {}});
  }
  std::sort(parts_.begin(), parts_.end(),
            [](const Part& a, const Part& b) { return a.source->data < b.source->data; });
  return Success{};
}

void TrackingEngine::BeginFreeze() {
  began_ = true;
  for (const Part& part : parts_) part.tracked->BeginFreeze(frozen());
}

int TrackingEngine::Protect(std::byte* start, size_t /*length*/) {
  Part& part = PartOf(start);
  uint64_t frame = 0;
  if (const int error = part.tracked->TakeWritten(&frame); error < 0) return error;
  const std::string section(part.source->name);
  record_->Add(part.source->region, part.tracked, frame, section);
  if (plan_->track.may_be_pinned) {
    part.tracked->ForgetBase();
  } else if (plan_->track.parent) {
    part.unchanged = part.tracked->UnchangedSince(*plan_->track.parent, section);
  }
  return 0;
}

TrackingEngine::Part& TrackingEngine::PartOf(const std::byte* address) {
  const auto after = std::upper_bound(
      parts_.begin(), parts_.end(), address,
      [](const std::byte* at, const Part& part) { return at < part.source->data; });
  return *(after - 1);
}

const TrackingEngine::Part& TrackingEngine::PartOf(const std::byte* address) const {
  return const_cast<TrackingEngine*>(this)->PartOf(address);
}

bool TrackingEngine::Unchanged(const std::byte* unit) const {
  const Part& part = PartOf(unit);
  const auto number = static_cast<size_t>(unit - part.source->data) / TrackedRegion::kUnitBytes;
  return !part.unchanged.empty() && part.unchanged[number] != 0;
}

int TrackingEngine::Lift(std::byte* start, size_t length) {
  return PartOf(start).tracked->Lift(start, length);
}

int TrackingEngine::Release(std::byte* start, size_t length) {
  return PartOf(start).tracked->Release(start, length);
}

size_t TrackingEngine::PieceBytes(uint64_t /*isolated_pieces*/) { return SystemPageSize(); }

void TrackingEngine::DropAll() {
  for (const Part& part : parts_) part.tracked->DropAll();
}

void TrackingEngine::EndProtection() {
  // If this capture never began its freeze, another capture may be using the region.
  for (const Part& part : parts_) {
    if (began_) part.tracked->EndCapture();
  }
  parts_.clear();
}

}  // namespace stillframe
