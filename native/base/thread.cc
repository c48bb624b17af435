#include "base/thread.h"

#include <signal.h>
#include <sys/prctl.h>

#include "base/sys.h"

namespace stillframe {

Status Thread::Start(const char* name, std::function<void()> body) {
  name_ = name;
  body_ = std::move(body);
  // The mask is inherited, so that not even the thread's first instruction can take a signal.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // But not those that a thread brings on itself: a blocked one of these is death.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread_, nullptr, Run, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return SystemFailure("pthread_create", error, "cannot start a thread");
  running_ = true;
  return Success{};
}

Status Thread::StartDetached(const char* name, std::function<void()> body) {
  auto* thread = new Thread;
  Status started = thread->Start(name, [body = std::move(body)] {
    body();
    pthread_detach(pthread_self());
  });
  // The object stays for ever: it is the thread's home, and nobody joins who could remove it.
  if (!started.ok()) delete thread;
  return started;
}

void* Thread::Run(void* self) {
  auto* thread = static_cast<Thread*>(self);
  // Not pthread_setname_np: from the outside it costs the starting thread a walk through /proc.
  sys::Prctl(PR_SET_NAME, reinterpret_cast<uint64_t>(thread->name_), 0, 0, 0);
  thread->body_();
  return nullptr;
}

void Thread::Join() {
  if (!running_) return;
  running_ = false;
  pthread_join(thread_, nullptr);
  body_ = nullptr;  // and what it holds
}

}  // namespace stillframe
