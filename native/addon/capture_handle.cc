#include "addon/capture_handle.h"

#include <cstring>
#include <utility>

#include "addon/builder.h"
#include "addon/describe_image.h"
#include "addon/failure.h"
#include "addon/plan.h"
#include "addon/read_jobs.h"
#include "addon/sources.h"
#include "capture/chain_engine.h"
#include "freeze/fork_engine.h"
#include "freeze/mprotect_engine.h"
#include "freeze/tracking_engine.h"
#include "freeze/userfaultfd_engine.h"

namespace stillframe {
namespace {

std::unique_ptr<Engine> MakeEngine(const std::string& name, const std::string& fault_handling) {
  if (name == "fork") return std::make_unique<ForkEngine>();
  if (name == "mprotect") return std::make_unique<MprotectEngine>();
  if (name != "userfaultfd") return nullptr;
  return std::make_unique<UserfaultfdEngine>(fault_handling == "thread" ? FaultVariant::kThread
                                                                        : FaultVariant::kSignal);
}

Tracking ReadTracking(Reader* plan) {
  const std::string tracking = plan->String("tracking");
  if (tracking == "start") return Tracking::kStart;
  return tracking == "stop" ? Tracking::kStop : Tracking::kAsItIs;
}

Result<CapturePlan> ReadPlan(Reader* plan) {
  CapturePlan result;
  const std::string engine = plan->String("engine");
  const std::string fault_handling = plan->String("faultHandling");
  result.engine = MakeEngine(engine, fault_handling);
  if (!result.engine && engine != "none") {
    return Fail(FailureCode::kEngineUnavailable, "there is no engine '" + engine + "'");
  }
  if (const napi_value chain = plan->Get("chain"); plan->TypeOf(chain) == napi_external) {
    result.chain = FrameOf(Napi::Value(plan->env(), chain));
    result.engine = std::make_unique<ChainEngine>(result.chain);
  }
  Result<std::vector<CaptureSource>> sources = plan->Group("sources", ReadSources);
  if (!sources.ok()) return sources.failure();
  result.sources = std::move(sources.value());
  result.tracking = ReadTracking(plan);
  result.may_be_pinned = plan->Bool("mayBePinned");
  if (engine == "userfaultfd" && fault_handling == "thread" &&
      (result.tracking == Tracking::kStart || AnyTracked(result.sources))) {
    result.engine = std::make_unique<TrackingEngine>();
  }
  const std::byte* id = plan->Address(plan->Get("id"));
  if (id != nullptr) memcpy(result.id.data(), id, result.id.size());
  const napi_value metadata = plan->Get("metadata");
  if (plan->TypeOf(metadata) == napi_string) result.metadata = plan->Text(metadata);
  result.target = ReadTarget(plan);
  const napi_value parent = plan->Get("parent");
  if (plan->TypeOf(parent) == napi_string) result.parent = plan->Text(parent);
  result.parents = ParentsOf(plan);
  const napi_value parent_id = plan->Get("parentId");
  if (plan->TypeOf(parent_id) == napi_object) {
    memcpy(result.parent_id.emplace().data(), plan->Address(parent_id), result.id.size());
  }
  result.encoding = ReadEncoding(plan);
  // A delta contains only some of the pages, so its layout is always packed.
  if (!result.parent.empty()) result.encoding.layout = Layout::kPacked;
  result.pacing = ReadPacing(plan);
  result.limits = ReadJobLimits(plan);
  return result;
}

}  // namespace

Napi::Function CaptureHandle::Define(Napi::Env env) {
  return DefineClass(
      env, "Capture",
      {InstanceMethod<&CaptureHandle::ReadProgress>("progress"),
       InstanceMethod<&CaptureHandle::Abort>("abort"), InstanceAccessor<&CaptureHandle::Pid>("pid"),
       InstanceAccessor<&CaptureHandle::FrozenAt>("frozenAtMs")});
}

CaptureHandle::CaptureHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  environment_ = Environment::Of(env);
  Reader plan(env, info[0]);
  Result<CapturePlan> read = ReadPlan(&plan);
  if (!plan.ok()) return;  // the environment is ending, so nothing is started
  if (!read.ok()) {
    Throw(env, read.failure());
    return;
  }
  Result<std::unique_ptr<Capture>> capture =
      Capture::Start(std::move(read.value()), [this](Result<CaptureOutcome> outcome) {
        environment_->Post(
            [this, outcome = std::move(outcome)](Napi::Env on) { Ended(on, outcome); });
      });
  if (!capture.ok()) {
    Throw(env, capture.failure());
    return;
  }
  capture_ = std::move(capture.value());
  pid_ = capture_->pid();
  frozen_at_ns_ = capture_->frozen_at_ns();
  on_end_ = Napi::Persistent(info[1].As<Napi::Function>());
  environment_->Start(this, nullptr);
  Ref();  // until the end has been reported, even if JS drops its last reference
}

CaptureHandle::~CaptureHandle() = default;

void CaptureHandle::CancelAndJoin() { capture_.reset(); }

void CaptureHandle::Ended(Napi::Env env, Result<CaptureOutcome> outcome) {
  environment_->End(this);
  last_progress_ = capture_->Progress();
  capture_
      .reset();  // its index may be large, and the garbage collector may free this object very late
  const Napi::FunctionReference on_end = std::move(on_end_);
  if (outcome.ok()) {
    const CaptureOutcome& ended = outcome.value();
    ObjectBuilder result(env);
    result.Unsigned("fileSize", ended.file_length)
        .Unsigned("allocatedBytes", ended.allocated_bytes)
        .Number("durationMs", ended.duration_ms)
        .Unsigned("pagesTotal", ended.pages_total)
        .Unsigned("pagesZero", ended.pages_zero)
        .Unsigned("pagesCopied", ended.pages_copied)
        .Unsigned("copiedBytesPeak", ended.copied_bytes_peak)
        .Unsigned("changedBytes", ended.changed_bytes)
        .Unsigned("scannedBytes", ended.scanned_bytes);
    ended.parent ? result.Value("parentId", IdOf(env, ended.parent->id.data()))
                 : result.Undefined("parentId");
    CallFunction(env, on_end.Value(), {env.Null(), result.object()});
  } else {
    CallFunction(env, on_end.Value(), {ToError(env, outcome.failure())});
  }
  Unref();
}

void CaptureHandle::ReadProgress(const Napi::CallbackInfo& info) {
  const CaptureProgress progress = capture_ ? capture_->Progress() : last_progress_;
  double* into = info[0].As<Napi::Float64Array>().Data();
  into[0] = static_cast<double>(progress.bytes_done);
  into[1] = static_cast<double>(progress.bytes_total);
  into[2] = static_cast<double>(progress.bytes_written);
  into[3] = static_cast<double>(progress.copied_bytes);
}

void CaptureHandle::Abort(const Napi::CallbackInfo& /*info*/) {
  if (capture_) capture_->Abort();
}

Napi::Value CaptureHandle::Pid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), pid_);
}

Napi::Value CaptureHandle::FrozenAt(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(frozen_at_ns_) / 1'000'000);
}

}  // namespace stillframe
