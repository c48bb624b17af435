// inspect, verify and restore: each runs on a thread of its own, so that a slow disk takes no thread of
// libuv's pool from the service.
#pragma once

#include <napi.h>

#include <memory>

#include "image/image_file.h"

namespace stillframe {

// Takes back what openChain() has handed to JavaScript, whose garbage collector would keep the files open.
std::shared_ptr<const ImageFile> FrameOf(const Napi::Value& chain);

void DefineReadJobs(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
