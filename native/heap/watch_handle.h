// Exports MemoryWatch and needOfHeapSnapshot() of lib/addon/heap-addon.ts.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineMemoryWatch(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
