// What becomes of the records of its regions when a frame has come to its end. A frame that is
// complete and was asked to keep record becomes their base; any other one leaves them as they were.
//
// Made by the engine at the freeze, held by the capture until the frame is published or has failed.
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

  // The frame has taken what was written to this region.
  void Add(std::shared_ptr<RegionMemory> region, std::shared_ptr<TrackedRegion> tracked,
           uint64_t frame, std::string section);
  // The frame is complete: from now on the record of its regions begins with it.
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
