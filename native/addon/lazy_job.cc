#include "addon/lazy_job.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "addon/builder.h"
#include "addon/chain_plan.h"
#include "addon/describe_image.h"
#include "addon/read_job.h"
#include "addon/reader.h"
#include "addon/region_handle.h"
#include "image/read_failure.h"
#include "restore/lazy_restore.h"

namespace stillframe {
namespace {

// Hands a lazy restore from the JS thread that fetches its bytes to the JS thread that gets the
// memory. These may be two different threads.
class Handover {
 public:
  static uint64_t Put(std::shared_ptr<LazyRestore> restore) {
    const std::lock_guard lock(All().mutex);
    const uint64_t number = ++All().last;
    All().restores.emplace(number, std::move(restore));
    return number;
  }
  // Null if it has been taken already.
  static std::shared_ptr<LazyRestore> Take(uint64_t number) {
    const std::lock_guard lock(All().mutex);
    const auto found = All().restores.find(number);
    if (found == All().restores.end()) return nullptr;
    std::shared_ptr<LazyRestore> taken = std::move(found->second);
    All().restores.erase(found);
    return taken;
  }

 private:
  struct Waiting {
    std::mutex mutex;
    uint64_t last = 0;
    std::map<uint64_t, std::shared_ptr<LazyRestore>> restores;
  };
  static Waiting& All() {
    static auto* waiting = new Waiting;  // never destroyed: threads may outlive the end of main()
    return *waiting;
  }
};

struct LazyPlan {
  ChainPlan chain;
  RestorePlan restore;
  // Called with the number to pass to adoptLazily().
  std::shared_ptr<Napi::FunctionReference> on_open;
};

LazyPlan ReadPlan(Reader* object) {
  LazyPlan plan;
  plan.chain = ReadChain(object);
  plan.restore.verify = object->Bool("verify");
  plan.restore.max_bytes = object->Unsigned("maxBytes");
  plan.restore.sections = SectionsOf(object);
  Reader uses(object->env(), object->Get("firstUses"));
  const uint32_t length = uses.Length();
  for (uint32_t i = 0; i < length && uses.ok(); i++) {
    Reader use(object->env(), uses.At(i));
    plan.restore.first_uses.push_back({use.String("section"), use.Unsigned("offset")});
    uses.Include(use);
  }
  object->Include(uses);
  plan.on_open = FunctionOf(object, "onOpen");
  return plan;
}

Napi::Value RestoreLazily(const Napi::CallbackInfo& info) {
  Reader reader(info.Env(), info[0]);
  const auto plan = std::make_shared<LazyPlan>(ReadPlan(&reader));
  if (!reader.ok()) return {};
  const auto work = [plan](ReadJob& job) -> Result<ReadJob::ToValue> {
    LazyRestore::Reads reads;
    // The restore may outlive this environment, but the plan does not, so only the requests are
    // captured.
    reads.stop = [requests = plan->chain.requests] {
      if (requests) requests->Stop();
    };
    job.WhenCancelled(reads.stop);
    Result<ImageFile> image = OpenChain(plan->chain);
    if (!image.ok()) return image.failure();
    if (const size_t far = image.value().source().reads_at_once(); far > 0) {
      reads.background = far;
      reads.urgent = 2;
    }
    Result<std::shared_ptr<LazyRestore>> started =
        LazyRestore::Start(std::move(image.value()), plan->restore, std::move(reads));
    if (!started.ok()) return started.failure();
    const std::shared_ptr<LazyRestore> lazy = std::move(started.value());
    job.WhenCancelled([lazy] { lazy->Cancel(ReadingAborted()); });
    const uint64_t number = Handover::Put(lazy);
    job.Tell([plan, number](Napi::Env env) {
      napi_value value = nullptr;
      napi_create_double(env, static_cast<double>(number), &value);
      CallFunction(env, plan->on_open->Value(), {value});
    });
    Status finished = lazy->Finish();
    if (!finished.ok()) {
      // After a cancellation the receiver may be gone. After any other failure the restore stays
      // available, and the receiver learns of the failure from it.
      if (finished.failure().code == FailureCode::kAborted) Handover::Take(number);
      return finished.failure();
    }
    return ReadJob::ToValue([](Napi::Env env) { return env.Undefined(); });
  };
  return ReadJob::Run(info, info[1].As<Napi::Function>(), work);
}

// The JavaScript side of one lazy restore.
class LazyHandle {
 public:
  explicit LazyHandle(std::shared_ptr<LazyRestore> lazy) : lazy_(std::move(lazy)) {}

  // Returns once the restore no longer touches the memory. This takes very little time, since it
  // waits for no read.
  void OnCancel(napi_env, napi_callback_info) {
    lazy_->Cancel(ReadingAborted());
    lazy_->AwaitEnd();
  }
  napi_value OnFirstUses(napi_env env, napi_callback_info) {
    const auto describe = [env](const FirstUse& use) {
      return ObjectBuilder(env)
          .String("section", use.section)
          .Number("offset", static_cast<double>(use.offset))
          .object();
    };
    const std::vector<FirstUse> uses = lazy_->FirstUses();
    return ArrayOf(env, uses, describe);
  }
  void OnProgress(napi_env env, napi_callback_info info) {
    WriteProgress(env, info, lazy_->control);
  }

 private:
  const std::shared_ptr<LazyRestore> lazy_;
};

Napi::Value AdoptLazily(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto number = static_cast<uint64_t>(info[0].As<Napi::Number>().DoubleValue());
  const std::shared_ptr<LazyRestore> lazy = Handover::Take(number);
  if (!lazy) return env.Undefined();
  const auto handle = std::make_shared<LazyHandle>(lazy);
  const auto describe = [&](const RestoredRegion& region) {
    return ObjectBuilder(env)
        .String("name", region.section)
        .Value("region", RegionHandle::Wrap(env, region.memory))
        .object();
  };
  const napi_value info_of_image = DescribeImage(env, lazy->image());
  lazy->Adopt();
  return {env, ObjectBuilder(env)
                   .Value("info", info_of_image)
                   .Bool("mapped", false)
                   .Value("sections", ArrayOf(env, lazy->regions(), describe))
                   .Value("cancel", Closure<LazyHandle, &LazyHandle::OnCancel>(env, handle))
                   .Value("firstUses", Closure<LazyHandle, &LazyHandle::OnFirstUses>(env, handle))
                   .Value("progress", Closure<LazyHandle, &LazyHandle::OnProgress>(env, handle))
                   .object()};
}

}  // namespace

void DefineLazyJobs(Napi::Env env, Napi::Object exports) {
  exports.Set("restoreLazily", Napi::Function::New(env, RestoreLazily));
  exports.Set("adoptLazily", Napi::Function::New(env, AdoptLazily));
}

}  // namespace stillframe
