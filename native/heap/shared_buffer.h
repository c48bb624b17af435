// SharedArrayBuffers over the memory of regions.
//
// V8 counts who refers to the memory: buffers of all threads, and messages under way. The last of
// them gives it up, on whatever thread that happens; so it is mapped for as long as anybody can
// reach it, whatever has become of the Region and of the thread that made it.
#pragma once

#include <napi.h>

namespace stillframe {

// makeSharedBuffer(share) of lib/addon/heap-addon.ts. Takes the owner of the RegionShare.
Napi::Value MakeSharedBuffer(const Napi::CallbackInfo& info);

}  // namespace stillframe
