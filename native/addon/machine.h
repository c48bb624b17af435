// The functions that examine the machine and the process, such as capabilities(), preflight() and
// isDontFork(), and the fault injection of the tests.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineMachine(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
