// State per environment (the main thread and each Worker have one), and the way back to its JS
// thread.
//
// Destruction, by design: when an environment ends, its cleanup hook runs first and stops and joins
// every job that is still under way; only then does Node close the thread-safe function that their
// threads post through. A job's thread therefore never posts to a closed one. process.exit() runs
// no hooks: there the threads run on until the process is gone, on state that is never destroyed.
#pragma once

#include <napi.h>

#include <functional>
#include <map>
#include <memory>
#include <set>

namespace stillframe {

// Work that is under way for one environment: a capture, a restore.
class Job {
 public:
  virtual ~Job() = default;
  // Returns when the job's thread has ended. Called on the JS thread.
  virtual void CancelAndJoin() = 0;
};

class Environment {
 public:
  static Environment* Create(Napi::Env env);
  static Environment* Of(Napi::Env env);

  // Runs `task` later on the JS thread. Called on any thread that belongs to a job.
  void Post(std::function<void(Napi::Env)> task);

  // From Start to End of a job the event loop stays alive, and so does `keep`, which End gives
  // back. Called on the JS thread.
  void Start(Job* job, std::shared_ptr<void> keep);
  std::shared_ptr<void> End(Job* job);

  // What is cancelled when the environment ends, and keeps no event loop alive until then.
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
