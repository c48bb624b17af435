#include "base/thread.h"

#include <signal.h>
#include <sys/prctl.h>

#include <memory>

#include "base/sys.h"

namespace stillframe {

namespace {

// State of a detached thread, which owns and deletes it.
struct Detached {
  const char* name;
  std::function<void()> body;
};

void SetName(const char* name) {
  // Not pthread_setname_np: called by the starting thread, it would cost that thread a lookup in
  // /proc.
  sys::Prctl(PR_SET_NAME, reinterpret_cast<uint64_t>(name), 0, 0, 0);
}

void* RunDetached(void* argument) {
  const std::unique_ptr<Detached> self(static_cast<Detached*>(argument));
  SetName(self->name);
  self->body();
  return nullptr;
}

Status Create(pthread_t* thread, void* (*run)(void*), void* argument) {
  // The new thread inherits the mask, so it cannot take a signal even at its first instruction.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // Signals that a thread raises by its own faults stay unblocked: such a signal kills the process
  // if it is blocked.
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
  (void)detached.release();  // the thread owns it now
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
  body_ = nullptr;  // also destroys everything it captured
}

}  // namespace stillframe
