#include "addon/restore_job.h"

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "addon/builder.h"
#include "addon/chain_plan.h"
#include "addon/describe_image.h"
#include "addon/read_job.h"
#include "addon/reader.h"
#include "addon/region_handle.h"
#include "addon/sources.h"
#include "image/image_file.h"
#include "image/read_failure.h"
#include "memory/checked_copy.h"
#include "restore/restore.h"

namespace stillframe {
namespace {

// Memory owned by JavaScript. It may be moved, detached or freed between any two chunks.
struct JsMemory {
  size_t destination = 0;  // index into plan.into
  std::string section;
  // Called with (offset, length, done) on the JS thread; returns the memory for the chunk. It is
  // also released on the JS thread.
  std::shared_ptr<Napi::FunctionReference> on_chunk;
};

struct RestoreRequest {
  ChainPlan chain;
  RestorePlan plan;
  std::vector<JsMemory> of_js;
};

RestoreRequest ReadRequest(Reader* object) {
  RestoreRequest request;
  RestorePlan& plan = request.plan;
  request.chain = ReadChain(object);
  const std::string mode = object->String("mode");
  plan.mode = mode == "map"    ? RestoreMode::kMap
              : mode == "copy" ? RestoreMode::kCopy
                               : RestoreMode::kAny;
  plan.prefetch = object->Bool("prefetch");
  plan.verify = object->Bool("verify");
  plan.max_bytes = object->Unsigned("maxBytes");
  const double mappings =
      object->Group("limits", [](Reader* limits) { return limits->Number("mappings"); });
  if (mappings >= 0) plan.max_mappings = static_cast<uint64_t>(mappings);
  plan.sections = SectionsOf(object);
  Reader into(object->env(), object->Get("into"));
  into.Include(*object);
  const uint32_t length = into.Length();
  for (uint32_t i = 0; i < length && into.ok(); i++) {
    Reader entry(object->env(), into.At(i));
    entry.Include(into);
    Destination destination;
    destination.section = entry.String("name");
    destination.byte_length = entry.Unsigned("byteLength");
    destination.region = RegionUse(RegionOf(&entry, entry.Get("region")));
    const napi_value on_chunk = entry.Get("onChunk");
    if (entry.TypeOf(on_chunk) == napi_function) {
      auto function = std::make_shared<Napi::FunctionReference>(
          Napi::Persistent(Napi::Function(entry.env(), on_chunk)));
      request.of_js.push_back({plan.into.size(), destination.section, std::move(function)});
    }
    into.Include(entry);
    plan.into.push_back(std::move(destination));
  }
  object->Include(into);
  return request;
}

// Fills memory owned by JavaScript. Fill() is called on the thread of one job, and copies on the JS
// thread.
class JsFiller {
 public:
  explicit JsFiller(ReadJob* job) : job_(job) {}
  Status Fill(const JsMemory& memory, uint64_t offset, const std::byte* bytes, uint64_t length);

 private:
  Status FillNow(Napi::Env env, const JsMemory& memory, uint64_t offset, const std::byte* bytes,
                 uint64_t length);
  ReadJob* job_;
  std::optional<CheckedCopy> copy_;  // created with the first chunk
};

Status JsFiller::Fill(const JsMemory& memory, uint64_t offset, const std::byte* bytes,
                      uint64_t length) {
  if (!copy_) {
    Result<CheckedCopy> copy = CheckedCopy::Create();
    if (!copy.ok()) return copy.failure();
    copy_.emplace(std::move(copy.value()));
  }
  return job_->OnJsThread([this, &memory, offset, bytes, length](Napi::Env env) {
    return FillNow(env, memory, offset, bytes, length);
  });
}

Status JsFiller::FillNow(Napi::Env env, const JsMemory& memory, uint64_t offset,
                         const std::byte* bytes, uint64_t length) {
  napi_value at = nullptr;
  napi_create_double(env, static_cast<double>(offset), &at);
  napi_value count = nullptr;
  napi_create_double(env, static_cast<double>(length), &count);
  // JS calls `done` in a later turn of the event loop, so that the service gets a turn between any
  // two chunks.
  const napi_value done = Closure<ReadJob, &ReadJob::OnDone>(env, job_->shared_from_this());
  const napi_value where = CallFunction(env, memory.on_chunk->Value(), {at, count, done});
  if (env.IsExceptionPending()) {
    Failure failure = Fail(FailureCode::kIo, TakeExceptionMessage(env));
    failure.section = memory.section;
    return failure;
  }
  std::byte* to = Reader(env, where).Address(where);
  // The environment is ending.
  if (to == nullptr) return ReadingAborted();
  // Memory of a region is our own, and a capture may have write-protected it, which CheckedCopy
  // does not support. It is recognized by its address, since it may be a SharedArrayBuffer from
  // another thread, for which this thread has no Region.
  if (!RegionMemory::IsIn(to)) return copy_->Copy(to, bytes, length);
  memcpy(to, bytes, length);
  return Success{};
}

napi_value DescribeRestored(Napi::Env env, const ImageFile& image, RestoredFile* restored) {
  const auto describe = [&](RestoredRegion& region) {
    ObjectBuilder entry(env);
    entry.String("name", region.section);
    region.memory ? entry.Value("region", RegionHandle::Wrap(env, std::move(region.memory)))
                  : entry.Undefined("region");
    return entry.object();
  };
  return ObjectBuilder(env)
      .Value("info", DescribeImage(env, image))
      .Bool("mapped", restored->mapped)
      .Value("sections", ArrayOf(env, restored->regions, describe))
      .object();
}

}  // namespace

Napi::Value StartRestore(const Napi::CallbackInfo& info) {
  Reader reader(info.Env(), info[0]);
  auto request = std::make_shared<RestoreRequest>(ReadRequest(&reader));
  if (!reader.ok()) return {};
  const auto work = [request](ReadJob& job) -> Result<ReadJob::ToValue> {
    if (const auto& requests = request->chain.requests)
      job.WhenCancelled([requests] { requests->Stop(); });
    Result<ImageFile> opened = OpenChain(request->chain);
    if (!opened.ok()) return opened.failure();
    auto image = std::make_shared<ImageFile>(std::move(opened.value()));
    auto filler = std::make_shared<JsFiller>(&job);
    for (const JsMemory& memory : request->of_js) {
      request->plan.into[memory.destination].fill =
          [filler, &memory](uint64_t offset, const std::byte* bytes, uint64_t length) {
            return filler->Fill(memory, offset, bytes, length);
          };
    }
    Result<RestoredFile> done = Restore(*image, request->plan, &job.control);
    if (!done.ok()) return done.failure();
    auto restored = std::make_shared<RestoredFile>(std::move(done.value()));
    return ReadJob::ToValue(
        [image, restored](Napi::Env env) { return DescribeRestored(env, *image, restored.get()); });
  };
  return ReadJob::Run(info, info[1].As<Napi::Function>(), work);
}

}  // namespace stillframe
