// A thread of this library. No signal of the host is ever delivered to it, and a failure to start
// is returned as a Status.
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

  // `name` is a string literal of at most 15 characters; tools that inspect the process show it.
  Status Start(const char* name, std::function<void()> body);
  // For work that is never waited for. `body` must own everything it uses; it is destroyed when the
  // thread ends.
  static Status StartDetached(const char* name, std::function<void()> body);
  // Idempotent. Must not be called on the thread itself.
  void Join();
  // Instead of Join(): the thread continues to run, and this object must outlive it.
  void Detach();

 private:
  static void* Run(void* self);
  const char* name_ = "";
  std::function<void()> body_;
  pthread_t thread_{};
  bool running_ = false;
};

}  // namespace stillframe
