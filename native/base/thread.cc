#include "base/thread.h"

#include <signal.h>
#include <sys/prctl.h>

#include <memory>

#include "base/sys.h"

namespace stillframe {

namespace {

// What a thread that nobody joins works with, and removes itself.
struct Detached {
  const char* name;
  std::function<void()> body;
};

void SetName(const char* name) {
  // Not pthread_setname_np: called from outside, it costs the starting thread a walk through /proc.
  sys::Prctl(PR_SET_NAME, reinterpret_cast<uint64_t>(name), 0, 0, 0);
}

void* RunDetached(void* argument) {
  const std::unique_ptr<Detached> self(static_cast<Detached*>(argument));
  SetName(self->name);
  self->body();
  return nullptr;
}

Status Create(pthread_t* thread, void* (*run)(void*), void* argument) {
  // The mask is inherited, so that not even the thread's first instruction can take a signal.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // But the signals that a thread brings on itself stay unblocked: a blocked one of these is death.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(thread, nullptr, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return SystemFailure("pthread_create", error, "cannot start a thread");
  return Success{};
}

}  // namespace

Status Thread::Start(const char* name, std::function<void()> body) {
  name_ = name;
  body_ = std::move(body);
  Status started = Create(&thread_, Run, this);
  running_ = started.ok();
  return started;
}

Status Thread::StartDetached(const char* name, std::function<void()> body) {
  auto detached = std::make_unique<Detached>(Detached{name, std::move(body)});
  pthread_t thread{};
  Status started = Create(&thread, RunDetached, detached.get());
  if (!started.ok()) return started;
  (void)detached.release();  // it is the thread's own now
  pthread_detach(thread);
  return started;
}

void Thread::Detach() {
  if (!running_) return;
  running_ = false;
  pthread_detach(thread_);
}

void* Thread::Run(void* self) {
  auto* thread = static_cast<Thread*>(self);
  SetName(thread->name_);
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
