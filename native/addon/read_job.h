// Reads a file for JavaScript on a thread of its own, so that a slow disk blocks no thread of
// libuv's pool, and calls back at the end.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "addon/environment.h"
#include "base/result.h"
#include "base/thread.h"
#include "image/read_control.h"

namespace stillframe {

// One reading thread, the callback that gets its result, and the means to hand chunks to the JS
// thread in between. Lives until its end has been reported on the JS thread, and at least as long
// as the ReadJob object in JS.
class ReadJob final : public Job, public std::enable_shared_from_this<ReadJob> {
 public:
  using ToValue = std::function<napi_value(Napi::Env)>;
  // Runs on the job's thread. It does the reading, and returns a function that creates the JS value
  // of the result.
  using Work = std::function<Result<ToValue>(ReadJob&)>;

  // Starts `work`. `callback` is called with (failure) or (null, value). Returns the ReadJob object
  // for JS.
  static Napi::Value Run(const Napi::CallbackInfo& info, const Napi::Function& callback, Work work);

  ReadControl control;

  // Runs `task` on the JS thread, and waits until it has failed or JS has called OnDone(), which
  // `task` must arrange for. A cancellation ends the wait. Called only on the job's thread, and not
  // again after a failure.
  Status OnJsThread(std::function<Status(Napi::Env)> task);
  // Posts `task` to the JS thread without waiting. It runs before the end of the job is reported.
  void Tell(std::function<void(Napi::Env)> task) { environment_->Post(std::move(task)); }
  // Calls `hook` when the job is cancelled, or at once if it already is. A later hook replaces an
  // earlier one. Called on the job's thread.
  void WhenCancelled(const std::function<void()>& hook);

  void CancelAndJoin() override {
    Cancel();
    Join();
  }
  void Cancel();

  // Called by JS when it has dealt with the chunk that OnJsThread() handed over, even if the task
  // has failed since.
  void OnDone(napi_env env, napi_callback_info info);

 private:
  void Finish(Napi::Env env, Result<ToValue> result);
  void Join();
  void OnCancel(napi_env env, napi_callback_info info);
  void OnProgress(napi_env env, napi_callback_info info);

  Environment* environment_ = nullptr;
  Napi::FunctionReference callback_;
  Thread thread_;
  // Guards the members below, through which the job's thread and the JS thread communicate.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Failure> task_failure_;
  bool task_done_ = false;
  std::function<void()> when_cancelled_;
};

// Writes bytes_done and bytes_total to the Float64Array that is the first argument of the call.
void WriteProgress(napi_env env, napi_callback_info info, const ReadControl& control);

}  // namespace stillframe
