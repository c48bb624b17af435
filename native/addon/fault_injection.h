// How tests make system calls fail: `injectFault` and `clearFaults`, in each addon for its own
// calls.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineFaultInjection(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
