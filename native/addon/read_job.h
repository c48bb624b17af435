// Reading a file for JavaScript: a thread of its own, so that a slow disk takes no thread of libuv's pool from the
// service, and a callback at its end.
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

// One reading thread, the callback that waits for it, and the way to hand it chunks in between. Lives until
// its end has been told on the JS thread, and as long as the ReadJob object of JS.
class ReadJob final : public Job, public std::enable_shared_from_this<ReadJob> {
 public:
  using ToValue = std::function<napi_value(Napi::Env)>;
  // Runs on the thread: does the reading and answers with what makes the JS value of its result.
  using Work = std::function<Result<ToValue>(ReadJob&)>;

  // Starts `work`; `callback` gets (failure) or (null, value). Returns the ReadJob object for JS.
  static Napi::Value Run(const Napi::CallbackInfo& info, const Napi::Function& callback, Work work);

  ReadControl control;

  // Runs `task` on the JS thread and waits for what it answers, by its result when that is a failure, later by
  // Answer() otherwise. On the job's thread only. A cancellation does not wait. The first answer counts: a task that
  // failed may already have arranged for the other.
  Status OnJsThread(std::function<Status(Napi::Env)> task);
  // Runs `task` on the JS thread some time before the end of the job is told, and does not wait.
  void Tell(std::function<void(Napi::Env)> task) { environment_->Post(std::move(task)); }
  // Calls `hook` when the job is cancelled, at once if it is already. The last one counts. On the job's thread.
  void WhenCancelled(const std::function<void()>& hook);
  void Answer(Status answer) {
    const std::lock_guard lock(mutex_);
    if (!answer_) answer_ = std::move(answer);
    answered_.notify_all();
  }

  void CancelAndJoin() override {
    Cancel();
    Join();
  }
  void Cancel();

  // The chunk that OnJsThread handed over is dealt with.
  void OnDone(napi_env env, napi_callback_info info);

 private:
  void Finish(Napi::Env env, Result<ToValue> result);
  void Join();
  void OnCancel(napi_env env, napi_callback_info info);
  void OnProgress(napi_env env, napi_callback_info info);

  Environment* environment_ = nullptr;
  Napi::FunctionReference callback_;
  Thread thread_;
  // OnJsThread: guards what the two threads hand each other.
  std::mutex mutex_;
  std::condition_variable answered_;
  std::optional<Status> answer_;
  std::function<void()> when_cancelled_;
};

// bytes_done and bytes_total, into the Float64Array that is the first argument.
void WriteProgress(napi_env env, napi_callback_info info, const ReadControl& control);

}  // namespace stillframe
