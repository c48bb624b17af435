// Tells the records of the regions of a frame how the frame ended. A complete frame that was asked
// to keep the record becomes their base; any other frame leaves them as they were.
//
// The engine makes this object at the freeze, and the capture holds it until the frame is
// published or has failed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "freeze/engine.h"
#include "freeze/tracked_region.h"

namespace stillframe {

class FrameRecord {
 public:
  FrameRecord() = default;
  FrameRecord(const FrameRecord&) = delete;
  FrameRecord& operator=(const FrameRecord&) = delete;
  ~FrameRecord();

  // Adds a region whose written units the frame has taken.
  void Add(std::shared_ptr<RegionMemory> region, std::shared_ptr<TrackedRegion> tracked,
           uint64_t frame, std::string section);
  // The frame is complete: from now on the records of its regions begin with it.
  void BecomeBase(const FrameId& id);

 private:
  struct Part {
    std::shared_ptr<RegionMemory> region;
    std::shared_ptr<TrackedRegion> tracked;
    uint64_t frame;
    std::string section;
  };
  std::vector<Part> parts_;
};

}  // namespace stillframe
