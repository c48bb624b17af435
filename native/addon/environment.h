// Per-environment state (the main thread and each Worker have one), and the way to run tasks on its
// JS thread.
//
// Order of destruction: when an environment ends, its cleanup hook runs first, and stops and joins
// every unfinished job. Only then does Node close the thread-safe function through which the
// threads of the jobs post, so none of them ever posts to a closed function. process.exit() runs no
// hooks: the threads keep running until the process is gone, on state that is never destroyed.
#pragma once

#include <napi.h>

#include <functional>
#include <map>
#include <memory>
#include <set>

namespace stillframe {

// Work in progress for one environment, such as a capture or a restore.
class Job {
 public:
  virtual ~Job() = default;
  // Returns once the thread of the job has ended. Called on the JS thread.
  virtual void CancelAndJoin() = 0;
};

class Environment {
 public:
  static Environment* Create(Napi::Env env);
  static Environment* Of(Napi::Env env);

  // Runs `task` later on the JS thread. Any thread that belongs to a job may call it.
  void Post(std::function<void(Napi::Env)> task);

  // Between Start() and End() of a job, the event loop stays alive and so does `keep`, which End()
  // returns. Called on the JS thread.
  void Start(Job* job, std::shared_ptr<void> keep);
  std::shared_ptr<void> End(Job* job);

  // Registers a job that is cancelled when the environment ends, but does not keep the event loop
  // alive.
  void AtEnd(Job* job) { at_end_.insert(job); }
  void NotAtEnd(Job* job) { at_end_.erase(job); }

  Napi::FunctionReference region_constructor;

 private:
  static void CleanUp(void* self);
  napi_env env_ = nullptr;
  napi_threadsafe_function post_ = nullptr;
  std::map<Job*, std::shared_ptr<void>> jobs_;
  std::set<Job*> at_end_;
};

}  // namespace stillframe
