// flock() of lib/addon/addon.ts: locks that are released when their holder dies, which Node does
// not offer.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineFileLock(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
