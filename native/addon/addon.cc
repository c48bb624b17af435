// The addon's exports: the interface Addon of lib/addon/addon.ts.
#include <napi.h>

#include "addon/capture_handle.h"
#include "addon/environment.h"
#include "addon/file_lock.h"
#include "addon/machine.h"
#include "addon/read_jobs.h"
#include "addon/region_handle.h"
#include "freeze/blocking_threads.h"

namespace stillframe {
namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Environment::Create(env);
  NoteQuietThreads();
  exports.Set("RegionHandle", RegionHandle::Define(env));
  exports.Set("Capture", CaptureHandle::Define(env));
  DefineReadJobs(env, exports);
  DefineMachine(env, exports);
  DefineFileLock(env, exports);
  return exports;
}

NODE_API_MODULE(stillframe, Init)

}  // namespace
}  // namespace stillframe
