// The threads of this process whose heaps other threads can reach: the threads that have loaded
// this addon, by their numbers in worker_threads.
#pragma once

#include <v8.h>

#include <cstdint>
#include <functional>

#include "addon/environment.h"

namespace stillframe {

class HeapThreads {
 public:
  // Called on the thread itself. The thread is removed when its environment ends.
  static void Add(Napi::Env env, uint64_t number);

  // Runs `work` once on that thread, whatever it is doing: while it runs JavaScript, even in an
  // endless loop, or from its event loop. If the thread ends first, `work` gets null, on any
  // thread. Returns false if there is no such thread.
  static bool RunOn(uint64_t number, std::function<void(v8::Isolate*)> work);
};

}  // namespace stillframe
