// Describes image files to JavaScript, and reads the members of a plan that say what to read from
// such files.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "addon/reader.h"
#include "image/image_file.h"
#include "image/read_limits.h"

namespace stillframe {

// ImageInfo of lib/image/info.ts.
napi_value DescribeImage(Napi::Env env, const ImageFile& image);
// The 16 bytes of an id, as a Buffer.
napi_value IdOf(Napi::Env env, const uint8_t* id);
napi_value DescribeProblems(Napi::Env env, const std::vector<ImageProblem>& problems);
// Reads the member `limits` of a plan.
ReadLimits LimitsOf(Reader* plan);
// Reads `parents`: the places to look for parents in.
std::vector<std::string> ParentsOf(Reader* plan);
// Reads `sections`: the names of the sections to restore; nullopt for all.
std::optional<std::vector<std::string>> SectionsOf(Reader* plan);

}  // namespace stillframe
