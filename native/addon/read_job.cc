#include "addon/read_job.h"

#include <utility>

#include "addon/builder.h"
#include "addon/failure.h"
#include "image/read_failure.h"

namespace stillframe {

Napi::Value ReadJob::Run(const Napi::CallbackInfo& info, const Napi::Function& callback,
                         Work work) {
  const Napi::Env env = info.Env();
  auto job = std::make_shared<ReadJob>();
  job->environment_ = Environment::Of(env);
  job->callback_ = Napi::Persistent(callback);
  const Status started =
      job->thread_.Start("stillframe-read", [job = job.get(), work = std::move(work)] {
        Result<ToValue> result = work(*job);
        // The environment keeps the job alive until Finish(), or joins this thread when it ends.
        job->environment_->Post(
            [job, result = std::move(result)](Napi::Env on) { job->Finish(on, result); });
      });
  if (!started.ok()) {
    Throw(env, Status(started).failure());
    return env.Undefined();
  }
  job->environment_->Start(job.get(), job);

  ObjectBuilder handle(env);
  handle.Value("cancel", Closure<ReadJob, &ReadJob::OnCancel>(env, job));
  handle.Value("progress", Closure<ReadJob, &ReadJob::OnProgress>(env, job));
  return {env, handle.object()};
}

void ReadJob::OnCancel(napi_env /*env*/, napi_callback_info /*info*/) { Cancel(); }

// Also releases everything that the cancellation hook holds, since JavaScript may keep the job for
// long.
void ReadJob::Join() {
  thread_.Join();
  const std::lock_guard lock(mutex_);
  when_cancelled_ = nullptr;
}

void ReadJob::Cancel() {
  control.cancelled = true;
  std::function<void()> hook;
  {
    const std::lock_guard lock(mutex_);
    hook = when_cancelled_;
    changed_.notify_all();
  }
  if (hook) hook();
}

void ReadJob::WhenCancelled(const std::function<void()>& hook) {
  {
    const std::lock_guard lock(mutex_);
    when_cancelled_ = hook;
  }
  if (control.cancelled) hook();
}

void ReadJob::OnProgress(napi_env env, napi_callback_info info) {
  WriteProgress(env, info, control);
}

void WriteProgress(napi_env env, napi_callback_info info, const ReadControl& control) {
  size_t count = 1;
  napi_value numbers = nullptr;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, &numbers, nullptr, nullptr) != napi_ok) return;
  if (napi_get_typedarray_info(env, numbers, nullptr, nullptr, &data, nullptr, nullptr) != napi_ok)
    return;
  auto* into = static_cast<double*>(data);
  into[0] = static_cast<double>(control.bytes_done.load());
  into[1] = static_cast<double>(control.bytes_total.load());
}

void ReadJob::OnDone(napi_env /*env*/, napi_callback_info /*info*/) {
  const std::lock_guard lock(mutex_);
  task_done_ = true;
  changed_.notify_all();
}

void ReadJob::Finish(Napi::Env env, Result<ToValue> result) {
  const Napi::FunctionReference callback = std::move(callback_);
  Join();
  const std::shared_ptr<void> self = environment_->End(this);
  if (result.ok()) {
    CallFunction(env, callback.Value(), {env.Null(), result.value()(env)});
  } else {
    CallFunction(env, callback.Value(), {ToError(env, result.failure())});
  }
}

Status ReadJob::OnJsThread(std::function<Status(Napi::Env)> task) {
  {
    const std::lock_guard lock(mutex_);
    task_done_ = false;
  }
  environment_->Post([this, task = std::move(task)](Napi::Env env) {
    // A cancelled job no longer waits, so the objects that the task refers to may be gone.
    const std::lock_guard task_lock(mutex_);
    if (control.cancelled) return;
    Status started = task(env);
    if (started.ok()) return;
    task_failure_ = started.failure();
    changed_.notify_all();
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return task_failure_ || task_done_ || control.cancelled; });
  if (task_failure_) return *task_failure_;
  if (task_done_) return Success{};
  return ReadingAborted();
}

}  // namespace stillframe
