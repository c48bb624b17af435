// A frame as JavaScript specifies it: either a file and the places to look for its parents in, or a
// chain of files whose bytes JavaScript fetches.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "addon/range_requests.h"
#include "addon/reader.h"
#include "image/image_file.h"
#include "image/read_limits.h"

namespace stillframe {

// Owned by the job that reads, and destroyed on the JS thread of that job.
struct ChainPlan {
  std::string path;
  std::vector<std::string> parents;
  ReadLimits limits;
  // From the newest to the oldest. Used only with `on_read`.
  struct File {
    std::string name;
    uint64_t length;
  };
  std::vector<File> files;
  std::shared_ptr<Napi::FunctionReference> on_read;
  std::shared_ptr<RangeRequests> requests;  // calls on_read; null without it
};

// Reads the members path, parents, limits, files and onRead of a plan.
ChainPlan ReadChain(Reader* plan);
// The function that is the member `key`; null if that is not a function.
std::shared_ptr<Napi::FunctionReference> FunctionOf(Reader* plan, const char* key);
Result<ImageFile> OpenChain(const ChainPlan& plan);

}  // namespace stillframe
