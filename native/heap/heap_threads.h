// The threads of this process whose heaps can be reached from another one: those that have loaded
// this addon, by their numbers in worker_threads.
#pragma once

#include <v8.h>

#include <cstdint>
#include <functional>

#include "addon/environment.h"

namespace stillframe {

class HeapThreads {
 public:
  // On the thread itself; it is forgotten when its environment ends.
  static void Add(Napi::Env env, uint64_t number);

  // Runs `work` once on that thread, wherever it stands: in JavaScript, also in a loop that never
  // ends, or in its event loop. It gets null, on whatever thread, if the thread ends before. False:
  // there is no such thread here.
  static bool RunOn(uint64_t number, std::function<void(v8::Isolate*)> work);
};

}  // namespace stillframe
