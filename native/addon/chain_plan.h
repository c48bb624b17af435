// A frame that JavaScript names: a file and where to look for what it builds on, or a chain of files whose bytes it fetches.
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

// Kept by the job that reads, on whose JS thread it goes.
struct ChainPlan {
  std::string path;
  std::vector<std::string> parents;
  ReadLimits limits;
  // From the newest on; only with `on_read`.
  struct File {
    std::string name;
    uint64_t length;
  };
  std::vector<File> files;
  std::shared_ptr<Napi::FunctionReference> on_read;
  std::shared_ptr<RangeRequests> requests;  // of on_read
};

// The members path, parents, limits, files and onRead of a plan.
ChainPlan ReadChain(Reader* plan);
// Null unless it is a function.
std::shared_ptr<Napi::FunctionReference> FunctionOf(Reader* plan, const char* key);
Result<ImageFile> OpenChain(const ChainPlan& plan);

}  // namespace stillframe
