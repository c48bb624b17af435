// The jobs that read files: inspect, verify, compare, openChain, restore and restoreLazily. Each
// runs on a thread of its own, so that a slow disk blocks no thread of libuv's pool.
#pragma once

#include <napi.h>

#include <memory>

#include "image/image_file.h"

namespace stillframe {

// Takes the frame out of the `chain` that openChain() has handed to JavaScript. Otherwise its files
// would stay open until the garbage collector frees `chain`.
std::shared_ptr<const ImageFile> FrameOf(const Napi::Value& chain);

void DefineReadJobs(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
