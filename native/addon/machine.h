// capabilities(), preflight(), isDontFork() and the tests' fault injection.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineMachine(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
