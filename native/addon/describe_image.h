// What JavaScript is told about an image file, and what it says about how much of one it takes.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "addon/reader.h"
#include "image/image_file.h"
#include "image/read_limits.h"

namespace stillframe {

// ImageInfo of lib/addon.
napi_value DescribeImage(Napi::Env env, const ImageFile& image);
// 16 bytes, as a Buffer.
napi_value IdOf(Napi::Env env, const uint8_t* id);
napi_value DescribeProblems(Napi::Env env, const std::vector<ImageProblem>& problems);
// The member `limits` of a plan.
ReadLimits LimitsOf(Reader* plan);
// And `parents`: where to look for what a file builds on.
std::vector<std::string> ParentsOf(Reader* plan);
// And `sections`: which to restore; none: all.
std::optional<std::vector<std::string>> SectionsOf(Reader* plan);

}  // namespace stillframe
