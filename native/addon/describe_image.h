// What JavaScript is told about an image file, and what it says about how much of one it takes.
#pragma once

#include <napi.h>

#include <vector>

#include "addon/reader.h"
#include "image/image_file.h"
#include "image/read_limits.h"

namespace stillframe {

// ImageInfo of lib/addon.
napi_value DescribeImage(Napi::Env env, const ImageFile& image);
napi_value DescribeProblems(Napi::Env env, const std::vector<ImageProblem>& problems);
// The member `limits` of a plan.
ReadLimits LimitsOf(Reader* plan);

}  // namespace stillframe
