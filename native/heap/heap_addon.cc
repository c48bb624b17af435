// The exports of stillframe_heap.node: the interface HeapAddon of lib/addon/heap-addon.ts. Of the
// native code only this addon is compiled against V8: for one major version of Node, and it refuses
// to load in any other.
#include <napi.h>
#include <node.h>
#include <v8-profiler.h>
#include <v8.h>

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "addon/builder.h"
#include "addon/environment.h"
#include "addon/failure.h"
#include "addon/fault_injection.h"
#include "addon/plan.h"
#include "addon/process_state.h"
#include "addon/reader.h"
#include "freeze/flip_lock.h"
#include "heap/fork_job.h"
#include "heap/fresh_ids.h"
#include "heap/heap_summary.h"
#include "heap/heap_threads.h"
#include "heap/in_copy.h"
#include "heap/platform.h"
#include "heap/shared_buffer.h"
#include "heap/value_writer.h"
#include "heap/watch_handle.h"
#include "heap/worker_park.h"

namespace stillframe {
namespace {

// Shared between a job that is started in another thread and the handle that has requested it.
struct Elsewhere {
  std::mutex mutex;
  bool wanted = true;  // as long as the handle exists and nothing has aborted the job
  std::unique_ptr<ForkJob> job;
};

class JobHandle final : public Napi::ObjectWrap<JobHandle>, public Job {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "ForkJobHandle",  // must differ from the class of lib/ in heap snapshots
        {InstanceMethod<&JobHandle::ReadProgress>("progress"),
         InstanceMethod<&JobHandle::Abort>("abort"), InstanceMethod<&JobHandle::Failure>("failure"),
         InstanceMethod<&JobHandle::TakeStream>("takeStream"),
         InstanceAccessor<&JobHandle::HeldLock>("heldLock"),
         InstanceAccessor<&JobHandle::OutOfTime>("outOfTime"),
         InstanceAccessor<&JobHandle::Pid>("pid"),
         InstanceAccessor<&JobHandle::FrozenAt>("frozenAtMs"),
         InstanceAccessor<&JobHandle::Times>("times")});
  }

  explicit JobHandle(const Napi::CallbackInfo& info);

  void CancelAndJoin() override {
    if (elsewhere_) {
      const std::lock_guard lock(elsewhere_->mutex);
      elsewhere_->wanted = false;
      job_ = std::move(elsewhere_->job);
    }
    job_.reset();
  }

 private:
  Status Start(v8::Isolate* isolate, ForkPlan plan, std::unique_ptr<ForkJob>* job);
  Status StartElsewhere(uint64_t thread, ForkPlan plan);
  void RunInChild(v8::Isolate* isolate, Output* output, const std::vector<AddressRange>& v8_memory);
  void RunCallback(Output* output);
  void Ended(Napi::Env env, Result<ForkOutcome> outcome, JobEnd end = JobEnd::kOther);

  // Null before the job has begun in another thread, and after its end has been reported.
  ForkJob* Running() {
    if (!elsewhere_ || job_) return job_.get();
    const std::lock_guard lock(elsewhere_->mutex);
    return elsewhere_->job.get();
  }
  void Remember(const ForkJob& job) {
    pid_ = job.pid();
    frozen_at_ns_ = job.frozen_at_ns();
    times_ = job.times();
    last_progress_ = job.Progress();
  }
  void Look() {
    if (const ForkJob* job = Running()) Remember(*job);
  }

  void ReadProgress(const Napi::CallbackInfo& info) {
    Look();
    double* into = info[0].As<Napi::Float64Array>().Data();
    into[0] = static_cast<double>(last_progress_.bytes_written);
    into[1] = static_cast<double>(last_progress_.steps_done);
    into[2] = static_cast<double>(last_progress_.steps_total);
    into[3] = static_cast<double>(last_progress_.child_bytes);
  }
  void Abort(const Napi::CallbackInfo& info);
  // The pipe that the copy writes to; -1 if there is none. The caller owns it from now on.
  Napi::Value TakeStream(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), stream_.Release());
  }
  // The error that the callback threw, as serialized in the copy.
  Napi::Value Failure(const Napi::CallbackInfo& info) {
    napi_value bytes = nullptr;
    napi_create_buffer_copy(info.Env(), failure_.size(), failure_.data(), nullptr, &bytes);
    return {info.Env(), bytes};
  }
  Napi::Value HeldLock(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), end_ == JobEnd::kHeldLock);
  }
  Napi::Value OutOfTime(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), end_ == JobEnd::kOutOfTime);
  }
  Napi::Value Pid(const Napi::CallbackInfo& info) {
    Look();
    return Napi::Number::New(info.Env(), pid_);
  }
  // 0 until the job has begun.
  Napi::Value FrozenAt(const Napi::CallbackInfo& info) {
    Look();
    return Napi::Number::New(info.Env(), static_cast<double>(frozen_at_ns_) / 1'000'000);
  }
  Napi::Value Times(const Napi::CallbackInfo& info) {
    ObjectBuilder times(info.Env());
    times.Number("parkMs", times_.park)
        .Number("idsMs", times_.ids)
        .Number("mappingsMs", times_.mappings)
        .Number("flipMs", times_.flip)
        .Number("forkMs", times_.fork)
        .Number("restoreMs", times_.restore);
    return {info.Env(), times.object()};
  }

  Environment* environment_ = nullptr;
  std::unique_ptr<ForkJob> job_;          // null once the end has been reported
  std::shared_ptr<Elsewhere> elsewhere_;  // null for a job of this thread
  ForkProgress last_progress_{};
  FreezeTimes times_;
  // For a heap snapshot: the range for ids that the service's V8 does not know, and the last id
  // that it knows.
  uint32_t first_id_ = 0;
  int64_t last_kept_id_ = IdMover::kKeepNone;
  uint64_t most_ids_ = 0;
  bool stable_ids_ = false;
  bool redact_ = false;
  std::optional<SummaryRequest> summary_;
  napi_env raw_env_ = nullptr;
  napi_value callback_ = nullptr;  // used only in the copy, which is made during the call
  UniqueFd stream_;
  std::string failure_;
  JobEnd end_ = JobEnd::kOther;
  int pid_ = 0;
  int64_t frozen_at_ns_ = 0;
  Napi::FunctionReference on_end_;
};

class NoStream final : public v8::OutputStream {
 public:
  void EndOfStream() override {}
  WriteResult WriteAsciiChunk(char* /*data*/, int /*size*/) override { return kAbort; }
  WriteResult WriteHeapStatsChunk(v8::HeapStatsUpdate* /*data*/, int /*count*/) override {
    return kAbort;
  }
};

// This object shows whether V8 still keeps ids: other users of the profiler may have made it forget
// them.
thread_local v8::Global<v8::Object> known_object;

// Makes the V8 of this thread give an id to each object and keep it from now on, even when the
// object moves. This collects garbage and walks over the heap. Returns the last id given.
int64_t KeepIds(v8::Isolate* isolate) {
  const v8::HandleScope scope(isolate);
  v8::HeapProfiler* profiler = isolate->GetHeapProfiler();
  if (known_object.IsEmpty()) known_object.Reset(isolate, v8::Object::New(isolate));
  if (profiler->GetObjectId(known_object.Get(isolate)) == v8::HeapProfiler::kUnknownObjectId) {
    profiler->StartTrackingHeapObjects(false);
  }
  NoStream nobody;
  return profiler->GetHeapStats(&nobody);
}

// Reads the member `summary`, which is undefined for other jobs.
std::optional<SummaryRequest> ReadSummaryRequest(Reader* plan) {
  if (plan->TypeOf(plan->Get("summary")) != napi_object) return std::nullopt;
  return plan->Group("summary", [](Reader* from) {
    SummaryRequest request;
    request.trigger = from->String("trigger");
    request.pid = from->Unsigned("pid");
    request.thread = from->Unsigned("thread");
    request.redact = from->Bool("redact");
    return request;
  });
}

JobHandle::JobHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  environment_ = Environment::Of(env);
  Reader reader(env, info[0]);
  ForkPlan plan;
  plan.platform = PlatformOf(v8::Isolate::GetCurrent());
  plan.target = ReadTarget(&reader);
  const bool to_stream = reader.Bool("toStream");
  plan.pacing = ReadPacing(&reader);
  plan.limits = ReadJobLimits(&reader);
  stable_ids_ = reader.Bool("stableIds");
  redact_ = reader.Bool("redact");
  summary_ = ReadSummaryRequest(&reader);
  const uint64_t thread = reader.Unsigned("thread");
  const napi_value callback = reader.Get("run");
  raw_env_ = env;
  callback_ = reader.TypeOf(callback) == napi_function ? callback : nullptr;
  if (!reader.ok()) return;  // the environment is ending: nothing is started
  if (to_stream) {
    int ends[2] = {-1, -1};
    if (const int error = sys::Pipe2(ends, O_CLOEXEC); error < 0) {
      Throw(env, SystemFailure("pipe2", -error, "cannot make a pipe for the forked copy"));
      return;
    }
    stream_.Reset(ends[0]);
    plan.pipe = std::make_shared<UniqueFd>(ends[1]);
  }
  Status started = thread == 0 ? Start(v8::Isolate::GetCurrent(), std::move(plan), &job_)
                               : StartElsewhere(thread, std::move(plan));
  if (!started.ok()) {
    Throw(env, started.failure());
    return;
  }
  if (job_) Remember(*job_);
  on_end_ = Napi::Persistent(info[1].As<Napi::Function>());
  environment_->Start(this, nullptr);
  Ref();  // until the end has been reported, even if JS drops all references
}

// Called on the thread of the isolate.
Status JobHandle::Start(v8::Isolate* isolate, ForkPlan plan, std::unique_ptr<ForkJob>* job) {
  plan.in_child = [this, isolate](Output* output, const std::vector<AddressRange>& left_out,
                                  const std::vector<AddressRange>& v8_memory) {
    BeginInCopy(isolate, output->control(), left_out);
    RunInChild(isolate, output, v8_memory);
  };
  if (callback_ == nullptr && !summary_) {
    if (stable_ids_) plan.before_fork = [this, isolate] { last_kept_id_ = KeepIds(isolate); };
    v8::HeapStatistics heap;
    isolate->GetHeapStatistics(&heap);
    most_ids_ = FreshIds::MostFor(heap.used_heap_size());
    first_id_ = FreshIds::Take(most_ids_);
  }
  Result<std::unique_ptr<ForkJob>> started =
      ForkJob::Start(std::move(plan), [this](Result<ForkOutcome> outcome, JobEnd end) {
        environment_->Post(
            [this, outcome = std::move(outcome), end](Napi::Env on) { Ended(on, outcome, end); });
      });
  if (!started.ok()) {
    FreshIds::GiveBack(first_id_, most_ids_, 0);
    return started.failure();
  }
  *job = std::move(started.value());
  return Success{};
}

// The job begins when that thread can be interrupted. Any later failure is reported as the end of
// the job.
Status JobHandle::StartElsewhere(uint64_t thread, ForkPlan plan) {
  elsewhere_ = std::make_shared<Elsewhere>();
  const bool asked = HeapThreads::RunOn(thread, [this, shared = elsewhere_,
                                                 plan = std::move(plan)](v8::Isolate* isolate) {
    const std::lock_guard lock(shared->mutex);
    if (!shared->wanted) return;
    Status started = isolate == nullptr ? Status(Fail(FailureCode::kClosed, "the Worker has ended"))
                                        : Start(isolate, plan, &shared->job);
    if (started.ok()) return;
    shared->wanted = false;
    environment_->Post([this, failure = started.failure()](Napi::Env on) { Ended(on, failure); });
  });
  if (asked) return Success{};
  return Fail(FailureCode::kClosed, "stillframe/heap is not loaded in this Worker");
}

void JobHandle::Abort(const Napi::CallbackInfo& /*info*/) {
  if (!elsewhere_) {
    if (job_) job_->Abort();
    return;
  }
  const std::lock_guard lock(elsewhere_->mutex);
  if (elsewhere_->job) return elsewhere_->job->Abort();
  if (!std::exchange(elsewhere_->wanted, false)) return;
  environment_->Post(
      [this](Napi::Env on) { Ended(on, Fail(FailureCode::kAborted, "the capture was aborted")); });
}

void JobHandle::RunInChild(v8::Isolate* isolate, Output* output,
                           const std::vector<AddressRange>& v8_memory) {
  if (summary_) return WriteSummary(isolate, *summary_, v8_memory, output);
  if (callback_ != nullptr) return RunCallback(output);
  WriteHeapSnapshot(isolate, output, IdMover(first_id_, last_kept_id_), redact_);
}

void JobHandle::RunCallback(Output* output) {
  // run(emit, fail): emit takes bytes for the file and returns whether they were accepted; fail
  // takes the serialized error.
  const auto emit = [](napi_env on, napi_callback_info info) -> napi_value {
    size_t count = 1;
    napi_value bytes = nullptr;
    void* output_of_child = nullptr;
    void* data = nullptr;
    size_t length = 0;
    napi_value taken = nullptr;
    napi_get_cb_info(on, info, &count, &bytes, nullptr, &output_of_child);
    const bool ok =
        napi_get_typedarray_info(on, bytes, nullptr, &length, &data, nullptr, nullptr) == napi_ok &&
        static_cast<Output*>(output_of_child)->Append(data, length);
    napi_get_boolean(on, ok, &taken);
    return taken;
  };
  const auto fail = [](napi_env on, napi_callback_info info) -> napi_value {
    size_t count = 1;
    napi_value bytes = nullptr;
    void* output_of_child = nullptr;
    void* data = nullptr;
    size_t length = 0;
    napi_get_cb_info(on, info, &count, &bytes, nullptr, &output_of_child);
    napi_get_typedarray_info(on, bytes, nullptr, &length, &data, nullptr, nullptr);
    const HeapControl& shared = static_cast<Output*>(output_of_child)->control();
    length = std::min(length, HeapControl::kFailureBytes);
    memcpy(shared.failure(), data, length);
    shared.counters()->failure_length.store(static_cast<uint32_t>(length),
                                            std::memory_order_release);
    return nullptr;
  };
  napi_value arguments[2] = {nullptr, nullptr};
  napi_value receiver = nullptr;
  napi_get_undefined(raw_env_, &receiver);
  if (napi_create_function(raw_env_, nullptr, 0, emit, output, &arguments[0]) != napi_ok ||
      napi_create_function(raw_env_, nullptr, 0, fail, output, &arguments[1]) != napi_ok ||
      napi_call_function(raw_env_, receiver, callback_, 2, arguments, nullptr) != napi_ok) {
    // run() catches everything, so a failure here is a termination.
    sys::ExitGroup(kChildFailed);
  }
}

void JobHandle::Ended(Napi::Env env, Result<ForkOutcome> outcome, JobEnd end) {
  environment_->End(this);
  if (elsewhere_) {
    const std::lock_guard lock(elsewhere_->mutex);
    job_ = std::move(elsewhere_->job);
  }
  if (job_) {
    Remember(*job_);
    const HeapControl& control = job_->control();
    failure_.assign(reinterpret_cast<const char*>(control.failure()),
                    control.counters()->failure_length.load(std::memory_order_acquire));
    FreshIds::GiveBack(first_id_, most_ids_,
                       control.counters()->highest_id.load(std::memory_order_relaxed));
    end_ = end;
    job_.reset();
  }
  const Napi::FunctionReference on_end = std::move(on_end_);
  if (outcome.ok()) {
    const ForkOutcome& ended = outcome.value();
    ObjectBuilder result(env);
    result.Unsigned("fileSize", ended.file_length)
        .Unsigned("allocatedBytes", ended.allocated_bytes)
        .Number("durationMs", ended.duration_ms)
        .Unsigned("childBytesPeak", ended.child_bytes_peak);
    CallFunction(env, on_end.Value(), {env.Null(), result.object()});
  } else {
    CallFunction(env, on_end.Value(), {ToError(env, outcome.failure())});
  }
  Unref();
}

// Called once, before the first fork.
void ShareProcessState(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) {
    Napi::TypeError::New(info.Env(), "stillframe.node of this version has to be loaded")
        .ThrowAsJavaScriptException();
    return;
  }
  const auto* state = info[0].As<Napi::External<ProcessState>>().Data();
  HeapThreads::Add(info.Env(), static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value()));
  ShareFlipLock(state->flip_lock);
  RegionMemory::ShareRanges(state->regions);
}

// For tests only: a worker that stays busy until it is released.
std::unique_ptr<WorkerPark> held_worker;

void HoldWorker(const Napi::CallbackInfo& /*info*/) {
  held_worker = std::make_unique<WorkerPark>(PlatformOf(v8::Isolate::GetCurrent()));
  held_worker->HoldOne();
}

void ReleaseWorker(const Napi::CallbackInfo& /*info*/) { held_worker.reset(); }

// Uses V8's own API, since Node-API has no ValueSerializer.
void DefineFunction(Napi::Object exports, const char* name, v8::FunctionCallback function) {
  const v8::Local<v8::Context> context = v8::Isolate::GetCurrent()->GetCurrentContext();
  const v8::Local<v8::Function> defined = v8::Function::New(context, function).ToLocalChecked();
  napi_value value = nullptr;
  // NOLINTBEGIN(bugprone-sizeof-expression): the size of the handles is meant, not of what they
  // stand for.
  static_assert(sizeof value == sizeof defined, "a napi_value is a Local");
  memcpy(&value, &defined, sizeof value);
  // NOLINTEND(bugprone-sizeof-expression)
  napi_set_named_property(exports.Env(), exports, name, value);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  // This has to come before any use of V8: in another version the layout of V8's objects differs.
  const napi_node_version* version = nullptr;
  napi_get_node_version(env, &version);
  if (version == nullptr || version->major != NODE_MAJOR_VERSION) {
    Napi::Error::New(env, "this addon was built for Node " + std::to_string(NODE_MAJOR_VERSION))
        .ThrowAsJavaScriptException();
    return exports;
  }
  Environment::Create(env);
  PrepareSummary(std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                 std::to_string(version->patch));
  WorkerPark::LearnInBackground(PlatformOf(v8::Isolate::GetCurrent()));
  // Not a cleanup hook of Node-API, since process.exit() runs none of those.
  node::AtExit(
      node::GetCurrentEnvironment(v8::Isolate::GetCurrent()->GetCurrentContext()),
      [](void*) {
        WorkerPark::StopLearning();
        known_object.Reset();
      },
      nullptr);
  exports.Set("ForkJob", JobHandle::Define(env));
  DefineFunction(exports, "serializeValue", SerializeValue);
  DefineFunction(exports, "scriptOf", ScriptOf);
  DefineMemoryWatch(env, exports);
  DefineFaultInjection(env, exports);
  exports.Set("makeSharedBuffer", Napi::Function::New(env, MakeSharedBuffer));
  exports.Set("shareProcessState", Napi::Function::New(env, ShareProcessState));
  exports.Set("holdWorker", Napi::Function::New(env, HoldWorker));
  exports.Set("releaseWorker", Napi::Function::New(env, ReleaseWorker));
  return exports;
}

NODE_API_MODULE(stillframe_heap, Init)

}  // namespace
}  // namespace stillframe
