// flock() of lib/addon/addon.ts: locks that die with their holder, which Node does not have.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineFileLock(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
