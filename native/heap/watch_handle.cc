#include "heap/watch_handle.h"

#include <v8.h>

#include <memory>
#include <utility>

#include "addon/builder.h"
#include "addon/environment.h"
#include "addon/failure.h"
#include "addon/plan.h"
#include "addon/reader.h"
#include "heap/memory_watch.h"
#include "heap/platform.h"

namespace stillframe {
namespace {

WatchTriggers ReadTriggers(Reader* plan) {
  return plan->Group("triggers", [](Reader* group) {
    WatchTriggers triggers;
    triggers.near_heap_limit = group->Bool("nearHeapLimit");
    triggers.heap_used_bytes = group->Unsigned("heapUsedBytes");
    triggers.heap_used_percent = group->Number("heapUsedPercent");
    triggers.rss_bytes = group->Unsigned("rssBytes");
    triggers.cgroup_percent = group->Number("cgroupPercent");
    triggers.pressure_percent = group->Number("pressurePercent");
    return triggers;
  });
}

const char* KindName(WatchEvent::Kind kind) {
  switch (kind) {
    case WatchEvent::Kind::kStarted:
      return "started";
    case WatchEvent::Kind::kEnded:
      return "ended";
    case WatchEvent::Kind::kFailed:
      return "failed";
    case WatchEvent::Kind::kTooBig:
      return "too-big";
  }
  return "";
}

void AddNeed(ObjectBuilder* to, const HeapNeed& need) {
  to->Unsigned("heapBytes", need.heap_bytes)
      .Unsigned("neededBytes", need.needed_bytes)
      .Unsigned("availableBytes", need.available_bytes);
}

class WatchHandle final : public Napi::ObjectWrap<WatchHandle>, public Job {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "MemoryWatchHandle", {InstanceMethod<&WatchHandle::Stop>("stop")});
  }

  explicit WatchHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const Napi::Env env = info.Env();
    environment_ = Environment::Of(env);
    Reader reader(env, info[0]);
    WatchPlan plan;
    plan.isolate = v8::Isolate::GetCurrent();
    plan.platform = PlatformOf(plan.isolate);
    const TargetPlan target = ReadTarget(&reader);
    plan.directory = target.path;
    plan.target = target.options;
    plan.owner = reader.String("owner");
    plan.triggers = ReadTriggers(&reader);
    plan.every_ms = static_cast<int64_t>(reader.Number("everyMs"));
    plan.cool_down_ms = static_cast<int64_t>(reader.Number("coolDownMs"));
    plan.thread = reader.Unsigned("thread");
    plan.old_generation_limit = reader.Unsigned("oldGenerationLimit");
    plan.redact = reader.Bool("redact");
    plan.summarize = reader.Bool("summarize");
    plan.pacing = ReadPacing(&reader);
    plan.limits = ReadJobLimits(&reader);
    plan.run_on_loop = [environment = environment_](std::function<void()> task) {
      environment->Post([task = std::move(task)](Napi::Env) { task(); });
    };
    if (!reader.ok()) return;  // the environment is ending
    Result<std::unique_ptr<MemoryWatch>> watch =
        MemoryWatch::Start(std::move(plan), [this](WatchEvent event) {
          environment_->Post([this, event = std::move(event)](Napi::Env on) { Tell(on, event); });
        });
    if (!watch.ok()) {
      Throw(env, watch.failure());
      return;
    }
    watch_ = std::move(watch.value());
    on_event_ = Napi::Persistent(info[1].As<Napi::Function>());
    environment_->AtEnd(this);
    Ref();  // until it is stopped
  }

  void CancelAndJoin() override { watch_.reset(); }

 private:
  void Stop(const Napi::CallbackInfo& /*info*/) {
    if (!watch_) return;
    watch_.reset();
    environment_->NotAtEnd(this);
    on_event_.Reset();
    Unref();
  }

  void Tell(Napi::Env env, const WatchEvent& event) {
    if (!watch_) return;
    ObjectBuilder told(env);
    told.String("kind", KindName(event.kind))
        .String("trigger", TriggerName(event.trigger))
        .String("path", event.path)
        .Bool("isSummary", event.is_summary)
        .String("insteadOf", event.instead_of)
        .Unsigned("pid", static_cast<uint64_t>(event.pid))
        .Number("pauseMs", event.pause_ms)
        .Unsigned("fileSize", event.outcome.file_length)
        .Number("durationMs", event.outcome.duration_ms);
    AddNeed(&told, event.need);
    if (event.kind == WatchEvent::Kind::kFailed || !event.instead_of.empty()) {
      told.Value("failure", ToError(env, event.failure));
    } else {
      told.Undefined("failure");
    }
    CallFunction(env, on_event_.Value(), {told.object()});
  }

  Environment* environment_ = nullptr;
  std::unique_ptr<MemoryWatch> watch_;  // null once it has been stopped
  Napi::FunctionReference on_event_;
};

// For the heap of this thread. The argument is the requested memory limit, or 0.
Napi::Value NeedOfHeapSnapshot(const Napi::CallbackInfo& info) {
  const auto limit = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  const HeapNeed need = NeedOfSnapshot(v8::Isolate::GetCurrent(), limit);
  ObjectBuilder told(info.Env());
  AddNeed(&told, need);
  told.Bool("fits", need.fits());
  return {info.Env(), told.object()};
}

}  // namespace

void DefineMemoryWatch(Napi::Env env, Napi::Object exports) {
  exports.Set("MemoryWatch", WatchHandle::Define(env));
  exports.Set("needOfHeapSnapshot", Napi::Function::New(env, NeedOfHeapSnapshot));
}

}  // namespace stillframe
