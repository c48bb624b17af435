// Restores whose memory is there at once, as jobs of JavaScript.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineLazyJobs(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
