// restoreLazily() and adoptLazily(): restores whose memory is available at once.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineLazyJobs(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
