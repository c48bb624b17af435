// A thread of our own: no signal of the host is ever delivered to it, and a failure to start is a
// result.
#pragma once

#include <pthread.h>

#include <functional>
#include <utility>

#include "base/result.h"

namespace stillframe {

class Thread {
 public:
  Thread() = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() { Join(); }

  // name is a literal of at most 15 characters, for people who look at the process from outside.
  Status Start(const char* name, std::function<void()> body);
  // For work that nobody will wait for. `body` must hold all it needs, and is destroyed with the
  // thread.
  static Status StartDetached(const char* name, std::function<void()> body);
  // Idempotent. The thread itself never calls it.
  void Join();
  // Instead of Join(): the thread goes on, and this object has to live for as long.
  void Detach();

 private:
  static void* Run(void* self);
  const char* name_ = "";
  std::function<void()> body_;
  pthread_t thread_{};
  bool running_ = false;
};

}  // namespace stillframe
