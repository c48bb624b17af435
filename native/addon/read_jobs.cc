#include "addon/read_jobs.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/builder.h"
#include "addon/describe_image.h"
#include "addon/read_job.h"
#include "addon/reader.h"
#include "addon/restore_job.h"
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
      info, info[1].As<Napi::Function>(), [path, parents, limits](ReadJob&) -> Result<ReadJob::ToValue> {
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
  const auto work = [path, parents, limits, max_problems](ReadJob& job) -> Result<ReadJob::ToValue> {
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

}  // namespace

void DefineReadJobs(Napi::Env env, Napi::Object exports) {
  exports.Set("inspect", Napi::Function::New(env, Inspect));
  exports.Set("verify", Napi::Function::New(env, Verify));
  exports.Set("restore", Napi::Function::New(env, StartRestore));
}

}  // namespace stillframe
