// SharedArrayBuffers over the memory of regions.
//
// V8 counts the references to the memory: from buffers of all threads, and from messages in
// transit. The last reference releases it, on any thread. So the memory stays mapped as long as
// anything can reach it, whatever has become of the Region and of the thread that made it.
#pragma once

#include <napi.h>

namespace stillframe {

// makeSharedBuffer(share) of lib/addon/heap-addon.ts. Takes the owner out of the RegionShare.
Napi::Value MakeSharedBuffer(const Napi::CallbackInfo& info);

}  // namespace stillframe
