#include "freeze/frame_record.h"

#include <utility>

namespace stillframe {

FrameRecord::~FrameRecord() {
  for (Part& part : parts_) {
    part.tracked->GiveToNext(part.frame);
    // Must go before the memory that it is about.
    part.tracked.reset();
  }
}

void FrameRecord::Add(std::shared_ptr<RegionMemory> region, std::shared_ptr<TrackedRegion> tracked,
                      uint64_t frame, std::string section) {
  parts_.push_back({std::move(region), std::move(tracked), frame, std::move(section)});
}

void FrameRecord::BecomeBase(const FrameId& id) {
  for (const Part& part : parts_) {
    part.tracked->BecomeBase(part.frame, id, part.section);
    part.region->SetCompanion(part.tracked);
  }
}

}  // namespace stillframe
