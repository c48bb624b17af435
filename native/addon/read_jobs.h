// inspect, verify and restore: each runs on a thread of its own, so that a slow disk takes no thread of
// libuv's pool from the service.
#pragma once

#include <napi.h>

namespace stillframe {

void DefineReadJobs(Napi::Env env, Napi::Object exports);

}  // namespace stillframe
