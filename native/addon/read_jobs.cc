#include "addon/read_jobs.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "addon/builder.h"
#include "addon/environment.h"
#include "addon/failure.h"
#include "addon/reader.h"
#include "addon/region_handle.h"
#include "addon/sources.h"
#include "base/thread.h"
#include "image/image_file.h"
#include "image/image_sweep.h"
#include "memory/checked_copy.h"
#include "memory/mapping_budget.h"
#include "memory/prefetch.h"
#include "memory/region.h"

namespace stillframe {
namespace {

// Of the sections that a file has, when one that it has not is asked for.
constexpr size_t kNamesInMessage = 16;

Failure Aborted() { return Fail(FailureCode::kAborted, "the reading was aborted"); }

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
  void Answer(Status answer) {
    const std::lock_guard lock(mutex_);
    if (!answer_) answer_ = std::move(answer);
    answered_.notify_all();
  }

  void CancelAndJoin() override {
    Cancel();
    thread_.Join();
  }
  void Cancel() {
    control.cancelled = true;
    const std::lock_guard lock(mutex_);
    answered_.notify_all();
  }

  // The chunk that OnJsThread handed over is dealt with.
  void OnDone(napi_env env, napi_callback_info info);

 private:
  void Finish(Napi::Env env, Result<ToValue> result);
  void OnCancel(napi_env env, napi_callback_info info);
  void OnProgress(napi_env env, napi_callback_info info);

  Environment* environment_ = nullptr;
  Napi::FunctionReference callback_;
  Thread thread_;
  // OnJsThread: guards what the two threads hand each other.
  std::mutex mutex_;
  std::condition_variable answered_;
  std::optional<Status> answer_;
};

Napi::Value ReadJob::Run(const Napi::CallbackInfo& info, const Napi::Function& callback,
                         Work work) {
  const Napi::Env env = info.Env();
  auto job = std::make_shared<ReadJob>();
  job->environment_ = Environment::Of(env);
  job->callback_ = Napi::Persistent(callback);
  const Status started =
      job->thread_.Start("stillframe-read", [job = job.get(), work = std::move(work)] {
        Result<ToValue> result = work(*job);
        // The environment keeps the job until Finish, or joins this thread at its own end.
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

void ReadJob::OnProgress(napi_env env, napi_callback_info info) {
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

void ReadJob::OnDone(napi_env /*env*/, napi_callback_info /*info*/) { Answer(Success{}); }

void ReadJob::Finish(Napi::Env env, Result<ToValue> result) {
  const Napi::FunctionReference callback = std::move(callback_);
  thread_.Join();
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
    answer_.reset();
  }
  environment_->Post([this, task = std::move(task)](Napi::Env env) {
    // A cancelled job does not wait any more: what the task refers to may be gone.
    std::unique_lock task_lock(mutex_);
    if (control.cancelled) return;
    Status started = task(env);
    task_lock.unlock();
    if (!started.ok()) Answer(std::move(started));
  });
  std::unique_lock lock(mutex_);
  answered_.wait(lock, [&] { return answer_.has_value() || control.cancelled; });
  if (answer_.has_value()) return *answer_;
  return Aborted();
}

napi_value DescribeImage(Napi::Env env, const ImageFile& image) {
  const FileHeader& header = image.header();
  napi_value id = nullptr;
  napi_create_buffer_copy(env, sizeof header.id, header.id, nullptr, &id);
  ObjectBuilder info(env);
  info.Value("id", id)
      .Unsigned("versionMajor", header.version_major)
      .Unsigned("versionMinor", header.version_minor)
      .String("layout", image.layout() == Layout::kPacked ? "packed" : "flat")
      .Number("frozenAtMs", static_cast<double>(header.frozen_at_ns) / 1'000'000)
      .Unsigned("pageSize", header.page_size)
      .Unsigned("blockSize", header.block_size)
      .Unsigned("fileSize", image.file_length())
      .Unsigned("allocatedBytes", image.allocated_bytes());
  image.metadata().empty() ? info.Undefined("metadata") : info.String("metadata", image.metadata());
  info.Value("sections", ArrayOf(env, image.sections(), [&](const ImageFile::Section& section) {
               return ObjectBuilder(env)
                   .String("name", section.name)
                   .Unsigned("byteLength", section.byte_length)
                   .Unsigned("storedBytes", section.stored_bytes)
                   .Unsigned("fileOffset", section.data_offset)
                   .object();
             }));
  return info.object();
}

napi_value DescribeProblems(Napi::Env env, const std::vector<ImageProblem>& problems) {
  return ArrayOf(env, problems, [&](const ImageProblem& problem) {
    return ObjectBuilder(env)
        .Unsigned("offset", problem.offset)
        .String("section", problem.section)
        .String("reason", problem.reason)
        .object();
  });
}

ReadLimits LimitsOf(Reader* plan) {
  Reader object(plan->env(), plan->Get("limits"));
  object.Include(*plan);
  ReadLimits limits;
  limits.sections = object.Unsigned("sections");
  limits.metadata_bytes = object.Unsigned("metadataBytes");
  limits.metadata_values = object.Unsigned("metadataValues");
  limits.metadata_depth = object.Unsigned("metadataDepth");
  plan->Include(object);
  return limits;
}

Napi::Value Inspect(const Napi::CallbackInfo& info) {
  Reader plan(info.Env(), info[0]);
  const std::string path = plan.String("path");
  const ReadLimits limits = LimitsOf(&plan);
  if (!plan.ok()) return {};
  return ReadJob::Run(
      info, info[1].As<Napi::Function>(), [path, limits](ReadJob&) -> Result<ReadJob::ToValue> {
        Result<ImageFile> image = ImageFile::Open(path, limits);
        if (!image.ok()) return image.failure();
        auto shared = std::make_shared<ImageFile>(std::move(image.value()));
        return ReadJob::ToValue([shared](Napi::Env env) { return DescribeImage(env, *shared); });
      });
}

Napi::Value Verify(const Napi::CallbackInfo& info) {
  Reader plan(info.Env(), info[0]);
  const std::string path = plan.String("path");
  const auto max_problems = static_cast<size_t>(plan.Unsigned("maxProblems"));
  const ReadLimits limits = LimitsOf(&plan);
  if (!plan.ok()) return {};
  const auto work = [path, limits, max_problems](ReadJob& job) -> Result<ReadJob::ToValue> {
    Result<ImageFile> image = ImageFile::Open(path, limits);
    if (!image.ok()) {
      const Failure& failure = image.failure();
      if (failure.code != FailureCode::kCorrupt) return failure;
      const ImageProblem problem{static_cast<uint64_t>(failure.offset), failure.section,
                                 failure.message};
      return ReadJob::ToValue([problem](Napi::Env env) {
        return ObjectBuilder(env)
            .Value("problems", DescribeProblems(env, {problem}))
            .Undefined("info")
            .object();
      });
    }
    auto shared = std::make_shared<ImageFile>(std::move(image.value()));
    Result<std::vector<ImageProblem>> problems = shared->Verify(max_problems, &job.control);
    if (!problems.ok()) return problems.failure();
    return ReadJob::ToValue([shared, found = problems.value()](Napi::Env env) {
      return ObjectBuilder(env)
          .Value("problems", DescribeProblems(env, found))
          .Value("info", DescribeImage(env, *shared))
          .object();
    });
  };
  return ReadJob::Run(info, info[1].As<Napi::Function>(), work);
}

// Where one section of a restore goes.
struct RestoreTarget {
  std::string name;
  uint64_t byte_length = 0;
  RegionUse region;
  // Without a region: gets (offset, length, done) on the JS thread, and returns where it is. Released there, too.
  std::shared_ptr<Napi::FunctionReference> on_chunk;
  bool in_region = false;  // what on_chunk returns lies in one
};

struct RestorePlan {
  std::string path;
  // kAny: a mapping where the file can be mapped.
  enum class Mode : uint8_t { kAny, kMap, kCopy } mode = Mode::kAny;
  bool prefetch = false;
  bool verify = true;
  std::optional<std::vector<std::string>> sections;
  uint64_t max_bytes = 0;
  ReadLimits limits;
  std::optional<uint64_t> max_mappings;  // without: MappingBudget()
  std::vector<RestoreTarget> into;
};

RestorePlan ReadRestorePlan(Reader* object) {
  RestorePlan plan;
  plan.path = object->String("path");
  const std::string mode = object->String("mode");
  plan.mode = mode == "map"    ? RestorePlan::Mode::kMap
              : mode == "copy" ? RestorePlan::Mode::kCopy
                               : RestorePlan::Mode::kAny;
  plan.prefetch = object->Bool("prefetch");
  plan.verify = object->Bool("verify");
  plan.max_bytes = object->Unsigned("maxBytes");
  plan.limits = LimitsOf(object);
  Reader limits(object->env(), object->Get("limits"));
  limits.Include(*object);
  const double mappings = limits.Number("mappings");
  if (mappings >= 0) plan.max_mappings = static_cast<uint64_t>(mappings);
  object->Include(limits);
  const napi_value sections = object->Get("sections");
  if (object->TypeOf(sections) == napi_object) {
    plan.sections.emplace();
    Reader names(object->env(), sections);
    const uint32_t length = names.Length();
    for (uint32_t i = 0; i < length && names.ok(); i++)
      plan.sections->push_back(names.Text(names.At(i)));
    object->Include(names);
  }
  Reader into(object->env(), object->Get("into"));
  into.Include(*object);
  const uint32_t length = into.Length();
  for (uint32_t i = 0; i < length && into.ok(); i++) {
    Reader entry(object->env(), into.At(i));
    entry.Include(into);
    RestoreTarget target;
    target.name = entry.String("name");
    target.byte_length = entry.Unsigned("byteLength");
    target.region = RegionUse(RegionOf(&entry, entry.Get("region")));
    target.in_region = entry.Bool("inRegion");
    const napi_value on_chunk = entry.Get("onChunk");
    if (entry.TypeOf(on_chunk) == napi_function) {
      target.on_chunk = std::make_shared<Napi::FunctionReference>(
          Napi::Persistent(Napi::Function(entry.env(), on_chunk)));
    }
    into.Include(entry);
    plan.into.push_back(std::move(target));
  }
  object->Include(into);
  return plan;
}

// The sections to restore, by index, in the order of the file.
Result<std::vector<uint32_t>> ChooseSections(const ImageFile& image, const RestorePlan& plan) {
  const auto& sections = image.sections();
  std::unordered_map<std::string_view, const ImageFile::Section*> by_name;
  for (const auto& section : sections) by_name.emplace(section.name, &section);
  std::unordered_set<std::string_view> wanted;
  if (plan.sections) wanted.insert(plan.sections->begin(), plan.sections->end());
  for (const RestoreTarget& target : plan.into) wanted.insert(target.name);
  for (const std::string_view unknown : wanted) {
    if (by_name.count(unknown) != 0) continue;
    const std::string name(unknown);
    Failure failure;
    failure.code = FailureCode::kNoSection;
    failure.message = "the file has no section '" + name + "'; it has";
    for (size_t i = 0; i < sections.size() && i < kNamesInMessage; i++) {
      failure.message += " '" + sections[i].name + "'";
    }
    if (sections.size() > kNamesInMessage) {
      failure.message += " and " + std::to_string(sections.size() - kNamesInMessage) + " more";
    }
    failure.section = name;
    return failure;
  }
  std::vector<uint32_t> chosen;
  uint64_t total = 0;
  for (uint32_t i = 0; i < sections.size(); i++) {
    if (plan.sections && wanted.count(sections[i].name) == 0) continue;
    chosen.push_back(i);
    total += sections[i].byte_length;
  }
  Failure failure;
  failure.code = FailureCode::kOutOfRange;
  if (plan.max_bytes != 0 && total > plan.max_bytes) {
    failure.message = "the sections to restore hold " + std::to_string(total) +
                      " bytes, more than maxBytes (" + std::to_string(plan.max_bytes) + ")";
    return failure;
  }
  for (const RestoreTarget& target : plan.into) {
    const ImageFile::Section& section = *by_name.at(target.name);
    if (section.byte_length <= target.byte_length) continue;
    failure.message =
        "section '" + section.name + "' holds " + std::to_string(section.byte_length) +
        " bytes, and the memory it is to fill has " + std::to_string(target.byte_length);
    failure.section = section.name;
    return failure;
  }
  const uint64_t regions = chosen.size() - plan.into.size();
  const uint64_t most = plan.max_mappings ? *plan.max_mappings : MappingBudget();
  if (regions <= most) return chosen;
  failure.message = "restoring " + std::to_string(regions) +
                    " sections takes as many mappings of memory, and " +
                    (plan.max_mappings ? "limits.mappings allows " : "this process can spare ") +
                    std::to_string(most) +
                    ": restore fewer at a time (sections), restore into existing memory (into), or "
                    "raise vm.max_map_count or limits.mappings";
  return failure;
}

Status FillThroughJs(ReadJob& job, const ImageFile& image, uint32_t section,
                     const RestoreTarget& target, ImageFile::Check check) {
  Result<CheckedCopy> copy = CheckedCopy::Create();
  if (!copy.ok()) return copy.failure();
  const auto deliver = [&](uint64_t offset, const std::byte* bytes, uint64_t length) -> Status {
    return job.OnJsThread([&, offset, bytes, length](Napi::Env env) -> Status {
      napi_value at = nullptr;
      napi_create_double(env, static_cast<double>(offset), &at);
      napi_value count = nullptr;
      napi_create_double(env, static_cast<double>(length), &count);
      // Answered in a later turn of the event loop, so that the service has one between any two chunks.
      const napi_value done = Closure<ReadJob, &ReadJob::OnDone>(env, job.shared_from_this());
      const napi_value where = CallFunction(env, target.on_chunk->Value(), {at, count, done});
      if (!env.IsExceptionPending()) {
        std::byte* to = Reader(env, where).Address(where);
        // This environment is being ended.
        if (to == nullptr) return Aborted();
        if (!target.in_region) return copy.value().Copy(to, bytes, length);
        memcpy(to, bytes, length);
        return Success{};
      }
      Failure failure = Fail(FailureCode::kIo, TakeExceptionMessage(env));
      failure.section = target.name;
      return failure;
    });
  };
  return image.ReadSection(section, check, deliver, &job.control);
}

struct RestoredRegion {
  std::string name;
  std::shared_ptr<RegionMemory> memory;  // null when the section went into existing memory
};

struct RestoredFile {
  std::vector<RestoredRegion> regions;  // in the order of the file
  bool mapped = false;
};

// One restore on the thread of its job.
class RestoreWork {
 public:
  RestoreWork(ReadJob& job, const ImageFile& image, const RestorePlan& plan)
      : job_(job),
        image_(image),
        plan_(plan),
        check_(plan.verify ? ImageFile::Check::kChecksums : ImageFile::Check::kNone),
        sweep_(image) {
    restored_.mapped = image.layout() == Layout::kFlat && plan.mode != RestorePlan::Mode::kCopy;
    for (const RestoreTarget& target : plan.into) targets_.emplace(target.name, &target);
  }

  Result<RestoredFile> Run();

 private:
  Status CheckMode() const;
  // Reads, and reports the first damage.
  Status Sweep(ImageSweep* sweep, ImageSweep::Extent extent) const;
  const RestoreTarget* TargetOf(const std::string& name) const;
  Status MakeRegion(uint32_t index);

  ReadJob& job_;
  const ImageFile& image_;
  const RestorePlan& plan_;
  const ImageFile::Check check_;
  std::unordered_map<std::string_view, const RestoreTarget*> targets_;  // of plan_.into, by name
  ImageSweep sweep_;
  bool fills_ = false;  // the sweep has anything to fill
  RestoredFile restored_;
};

Status RestoreWork::CheckMode() const {
  if (plan_.mode != RestorePlan::Mode::kMap || image_.layout() == Layout::kFlat) return Success{};
  return Fail(
      FailureCode::kNotMappable,
      "a compressed (packed) file cannot be mapped: restore it with mode 'copy', or into existing "
      "memory");
}

Status RestoreWork::Sweep(ImageSweep* sweep, ImageSweep::Extent extent) const {
  job_.control.bytes_done = 0;
  Result<std::vector<ImageProblem>> problems = sweep->Run(extent, check_, 1, &job_.control);
  if (!problems.ok()) return problems.failure();
  if (problems.value().empty()) return Success{};
  const ImageProblem& first = problems.value().front();
  Failure failure;
  failure.code = FailureCode::kCorrupt;
  failure.message = first.reason;
  failure.offset = static_cast<int64_t>(first.offset);
  failure.section = first.section;
  return failure;
}

const RestoreTarget* RestoreWork::TargetOf(const std::string& name) const {
  const auto found = targets_.find(name);
  return found != targets_.end() ? found->second : nullptr;
}

Status RestoreWork::MakeRegion(uint32_t index) {
  const ImageFile::Section& section = image_.sections()[index];
  // Whole pages of zeros cannot be mapped from a file that has none of them.
  const bool map = restored_.mapped && section.byte_length > 0;
  Result<std::shared_ptr<RegionMemory>> memory =
      map ? RegionMemory::MapFile(image_.fd(), section.data_offset, section.byte_length)
          : RegionMemory::Allocate(section.byte_length, true);
  if (!memory.ok()) return memory.failure();
  if (!map) {
    sweep_.Fill(index, memory.value()->data(), ImageSweep::Way::kStraight);
    fills_ = true;
  }
  restored_.regions.push_back({section.name, std::move(memory.value())});
  return Success{};
}

Result<RestoredFile> RestoreWork::Run() {
  if (Status mode = CheckMode(); !mode.ok()) return mode.failure();
  Result<std::vector<uint32_t>> chosen = ChooseSections(image_, plan_);
  if (!chosen.ok()) return chosen.failure();
  // All of the file, before a byte of it is handed out. Fresh memory is not handed out before it is filled: then
  // one way through the file does both.
  const bool check_first = plan_.verify && (restored_.mapped || !plan_.into.empty());
  if (check_first) {
    ImageSweep check(image_);
    Status checked = Sweep(&check, ImageSweep::Extent::kFile);
    if (!checked.ok()) return checked.failure();
  }
  for (const uint32_t index : chosen.value()) {
    const RestoreTarget* target = TargetOf(image_.sections()[index].name);
    if (target == nullptr) {
      if (Status made = MakeRegion(index); !made.ok()) return made.failure();
      continue;
    }
    restored_.regions.push_back({target->name, nullptr});
    if (target->on_chunk) continue;
    sweep_.Fill(index, target->region.get()->data(), ImageSweep::Way::kByHand);
    fills_ = true;
  }
  const auto extent =
      check_first || !plan_.verify ? ImageSweep::Extent::kFilled : ImageSweep::Extent::kFile;
  if (fills_ || (plan_.verify && !check_first)) {
    if (Status filled = Sweep(&sweep_, extent); !filled.ok()) return filled.failure();
  }
  for (const uint32_t index : chosen.value()) {
    const RestoreTarget* target = TargetOf(image_.sections()[index].name);
    if (target == nullptr || !target->on_chunk) continue;
    const Status filled = FillThroughJs(job_, image_, index, *target, check_);
    if (!filled.ok()) return Status(filled).failure();
  }
  if (plan_.prefetch && restored_.mapped) {
    std::vector<std::shared_ptr<RegionMemory>> regions;
    for (const RestoredRegion& region : restored_.regions) {
      if (region.memory) regions.push_back(region.memory);
    }
    PrefetchInBackground(std::move(regions));
  }
  return std::move(restored_);
}

Napi::Value Restore(const Napi::CallbackInfo& info) {
  Reader reader(info.Env(), info[0]);
  auto plan = std::make_shared<RestorePlan>(ReadRestorePlan(&reader));
  if (!reader.ok()) return {};
  const auto work = [plan](ReadJob& job) -> Result<ReadJob::ToValue> {
    Result<ImageFile> opened = ImageFile::Open(plan->path, plan->limits);
    if (!opened.ok()) return opened.failure();
    auto image = std::make_shared<ImageFile>(std::move(opened.value()));
    Result<RestoredFile> done = RestoreWork(job, *image, *plan).Run();
    if (!done.ok()) return done.failure();
    auto restored = std::make_shared<RestoredFile>(std::move(done.value()));
    return ReadJob::ToValue([image, restored](Napi::Env env) {
      const auto describe = [&](RestoredRegion& region) {
        ObjectBuilder entry(env);
        entry.String("name", region.name);
        region.memory ? entry.Value("region", RegionHandle::Wrap(env, std::move(region.memory)))
                      : entry.Undefined("region");
        return entry.object();
      };
      return ObjectBuilder(env)
          .Value("info", DescribeImage(env, *image))
          .Bool("mapped", restored->mapped)
          .Value("sections", ArrayOf(env, restored->regions, describe))
          .object();
    });
  };
  return ReadJob::Run(info, info[1].As<Napi::Function>(), work);
}

}  // namespace

void DefineReadJobs(Napi::Env env, Napi::Object exports) {
  exports.Set("inspect", Napi::Function::New(env, Inspect));
  exports.Set("verify", Napi::Function::New(env, Verify));
  exports.Set("restore", Napi::Function::New(env, Restore));
}

}  // namespace stillframe
