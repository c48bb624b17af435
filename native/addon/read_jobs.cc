#include "addon/read_jobs.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/builder.h"
#include "addon/describe_image.h"
#include "addon/lazy_job.h"
#include "addon/read_job.h"
#include "addon/reader.h"
#include "addon/restore_job.h"
#include "image/frame_difference.h"
#include "image/image_file.h"
#include "image/parent_search.h"

namespace stillframe {
namespace {

Napi::Value Inspect(const Napi::CallbackInfo& info) {
  Reader plan(info.Env(), info[0]);
  const std::string path = plan.String("path");
  const ReadLimits limits = LimitsOf(&plan);
  const std::vector<std::string> parents = ParentsOf(&plan);
  if (!plan.ok()) return {};
  return ReadJob::Run(
      info, info[1].As<Napi::Function>(),
      [path, parents, limits](ReadJob&) -> Result<ReadJob::ToValue> {
        Result<ImageFile> image = OpenFrame(path, parents, limits);
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
  const std::vector<std::string> parents = ParentsOf(&plan);
  if (!plan.ok()) return {};
  const auto work = [path, parents, limits,
                     max_problems](ReadJob& job) -> Result<ReadJob::ToValue> {
    Result<ImageFile> image = OpenFrame(path, parents, limits);
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

// Keeps the frame open for a Capture that compacts it into one file.
Napi::Value OpenChain(const Napi::CallbackInfo& info) {
  Reader plan(info.Env(), info[0]);
  const std::string path = plan.String("path");
  const ReadLimits limits = LimitsOf(&plan);
  const std::vector<std::string> parents = ParentsOf(&plan);
  if (!plan.ok()) return {};
  return ReadJob::Run(info, info[1].As<Napi::Function>(),
                      [path, parents, limits](ReadJob& /*job*/) -> Result<ReadJob::ToValue> {
                        Result<ImageFile> image = OpenFrame(path, parents, limits);
                        if (!image.ok()) return image.failure();
                        auto shared = std::make_shared<const ImageFile>(std::move(image.value()));
                        return ReadJob::ToValue([shared](Napi::Env env) {
                          using Held = std::shared_ptr<const ImageFile>;
                          const auto chain = Napi::External<Held>::New(
                              env, new Held(shared), [](Napi::Env, Held* held) { delete held; });
                          return ObjectBuilder(env)
                              .Value("chain", chain)
                              .Value("info", DescribeImage(env, *shared))
                              .object();
                        });
                      });
}

Napi::Value Compare(const Napi::CallbackInfo& info) {
  Reader plan(info.Env(), info[0]);
  const std::string from = plan.String("from");
  const std::string to = plan.String("to");
  const uint64_t pieces = plan.Unsigned("pieces");
  const ReadLimits limits = LimitsOf(&plan);
  const std::vector<std::string> parents = ParentsOf(&plan);
  if (!plan.ok()) return {};
  const auto work = [=](ReadJob& job) -> Result<ReadJob::ToValue> {
    Result<ImageFile> first = OpenFrame(from, parents, limits);
    if (!first.ok()) return first.failure();
    Result<ImageFile> second = OpenFrame(to, parents, limits);
    if (!second.ok()) return second.failure();
    Result<std::vector<SectionDifference>> found =
        CompareFrames(first.value(), second.value(), pieces, &job.control);
    if (!found.ok()) return found.failure();
    return ReadJob::ToValue([sections = std::move(found.value())](Napi::Env env) {
      return ArrayOf(env, sections, [&](const SectionDifference& section) {
        ObjectBuilder object(env);
        object.String("name", section.name);
        section.there[0] ? object.Unsigned("fromBytes", section.byte_lengths[0])
                         : object.Undefined("fromBytes");
        section.there[1] ? object.Unsigned("toBytes", section.byte_lengths[1])
                         : object.Undefined("toBytes");
        return object.Unsigned("changedPages", section.changed_pages)
            .Unsigned("pagesPerPiece", section.pages_per_piece)
            .Value("pieces", ArrayOf(env, section.pieces,
                                     [&](uint64_t changed) {
                                       napi_value number = nullptr;
                                       napi_create_double(env, static_cast<double>(changed),
                                                          &number);
                                       return number;
                                     }))
            .object();
      });
    });
  };
  return ReadJob::Run(info, info[1].As<Napi::Function>(), work);
}

}  // namespace

std::shared_ptr<const ImageFile> FrameOf(const Napi::Value& chain) {
  return std::move(*chain.As<Napi::External<std::shared_ptr<const ImageFile>>>().Data());
}

void DefineReadJobs(Napi::Env env, Napi::Object exports) {
  exports.Set("compare", Napi::Function::New(env, Compare));
  exports.Set("openChain", Napi::Function::New(env, OpenChain));
  exports.Set("inspect", Napi::Function::New(env, Inspect));
  exports.Set("verify", Napi::Function::New(env, Verify));
  exports.Set("restore", Napi::Function::New(env, StartRestore));
  DefineLazyJobs(env, exports);
}

}  // namespace stillframe
