#include "addon/environment.h"

#include <memory>
#include <utility>

namespace stillframe {
namespace {

using Task = std::function<void(Napi::Env)>;

void RunTask(napi_env env, napi_value /*function*/, void* /*context*/, void* data) {
  const std::unique_ptr<Task> task(static_cast<Task*>(data));
  if (env == nullptr) return;  // the environment is ending
  const Napi::HandleScope scope(env);
  // A Worker that is being stopped still runs posted tasks, but no call into JavaScript works any
  // more. The job is then left to the cleanup hook, which is about to run.
  napi_value probe = nullptr;
  if (napi_create_object(env, &probe) != napi_ok) return;
  if (napi_set_named_property(env, probe, "probe", probe) != napi_ok) return;
  (*task)(Napi::Env(env));
}

}  // namespace

Environment* Environment::Create(Napi::Env env) {
  auto* self = new Environment;
  self->env_ = env;
  const Napi::String name = Napi::String::New(env, "stillframe");
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, self,
                                  RunTask, &self->post_);
  napi_unref_threadsafe_function(env, self->post_);
  // Registered after the thread-safe function, so that it runs before that function's own hook.
  napi_add_env_cleanup_hook(env, CleanUp, self);
  env.SetInstanceData(self);
  return self;
}

Environment* Environment::Of(Napi::Env env) { return env.GetInstanceData<Environment>(); }

void Environment::Post(std::function<void(Napi::Env)> task) {
  auto data = std::make_unique<Task>(std::move(task));
  if (napi_call_threadsafe_function(post_, data.get(), napi_tsfn_nonblocking) == napi_ok) {
    (void)data.release();  // RunTask owns it now
  }
}

void Environment::Start(Job* job, std::shared_ptr<void> keep) {
  if (jobs_.empty()) napi_ref_threadsafe_function(env_, post_);
  jobs_.emplace(job, std::move(keep));
}

std::shared_ptr<void> Environment::End(Job* job) {
  const auto found = jobs_.find(job);
  std::shared_ptr<void> kept = std::move(found->second);
  jobs_.erase(found);
  if (jobs_.empty()) napi_unref_threadsafe_function(env_, post_);
  return kept;
}

void Environment::CleanUp(void* self) {
  auto* environment = static_cast<Environment*>(self);
  for (Job* job : environment->at_end_) job->CancelAndJoin();
  for (const auto& [job, keep] : environment->jobs_) job->CancelAndJoin();
}

}  // namespace stillframe
