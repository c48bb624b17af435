// What tests make system calls fail with: `injectFault` and `clearFaults`, of each addon for its own calls.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineFaultInjection(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
