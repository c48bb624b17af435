// Lets tests make system calls fail: `injectFault` and `clearFaults`. Each addon has its own pair,
// for its own system calls.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineFaultInjection(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
