#include "addon/chain_plan.h"

#include <utility>

#include "addon/describe_image.h"
#include "image/parent_search.h"
#include "image/range_source.h"

namespace stillframe {

std::shared_ptr<Napi::FunctionReference> FunctionOf(Reader* plan, const char* key) {
  const napi_value value = plan->Get(key);
  if (plan->TypeOf(value) != napi_function) return nullptr;
  return std::make_shared<Napi::FunctionReference>(
      Napi::Persistent(Napi::Function(plan->env(), value)));
}

ChainPlan ReadChain(Reader* plan) {
  ChainPlan chain;
  chain.path = plan->String("path");
  chain.parents = ParentsOf(plan);
  chain.limits = LimitsOf(plan);
  chain.on_read = FunctionOf(plan, "onRead");
  Reader files(plan->env(), plan->Get("files"));
  files.Include(*plan);
  const uint32_t count = files.Length();
  for (uint32_t i = 0; i < count && files.ok(); i++) {
    Reader file(files.env(), files.At(i));
    file.Include(files);
    chain.files.push_back({file.String("name"), file.Unsigned("byteLength")});
    files.Include(file);
  }
  plan->Include(files);
  if (chain.on_read) {
    chain.requests =
        std::make_shared<RangeRequests>(Environment::Of(plan->env()), chain.on_read.get());
  }
  return chain;
}

Result<ImageFile> OpenChain(const ChainPlan& plan) {
  if (!plan.requests) return OpenFrame(plan.path, plan.parents, plan.limits);
  std::vector<NamedSource> chain;
  for (uint32_t i = 0; i < plan.files.size(); i++) {
    chain.push_back({std::make_unique<RangeSource>(plan.requests, i, plan.files[i].length),
                     plan.files[i].name});
  }
  return OpenFrame(std::move(chain), plan.limits);
}

}  // namespace stillframe
