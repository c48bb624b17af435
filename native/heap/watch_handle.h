// MemoryWatch of lib/addon/heap-addon.ts, and what is told before a fork.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineMemoryWatch(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
