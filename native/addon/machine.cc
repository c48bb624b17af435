#include "addon/machine.h"

#include <fcntl.h>

#include <limits>
#include <optional>

#include "addon/builder.h"
#include "addon/failure.h"
#include "addon/fault_injection.h"
#include "addon/process_state.h"
#include "addon/sources.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "capture/space_check.h"
#include "freeze/direct_reads.h"
#include "freeze/features.h"
#include "freeze/flip_lock.h"
#include "image/format.h"
#include "memory/available_memory.h"
#include "memory/mapping_list.h"
#include "memory/page.h"
#include "publish/replaceable.h"
#include "publish/target_file.h"
#include "restore/missing_pages.h"

namespace stillframe {
namespace {

napi_value Features(napi_env env, const std::vector<Feature>& features) {
  return ArrayOf(env, features, [&](const Feature& feature) {
    return ObjectBuilder(env)
        .String("name", feature.name)
        .Bool("available", feature.available)
        .String("reason", feature.reason)
        .Bool("passing", feature.passing)
        .object();
  });
}

napi_value Hazards(napi_env env, const std::vector<Hazard>& hazards) {
  return ArrayOf(env, hazards, [&](const Hazard& hazard) {
    return ObjectBuilder(env)
        .String("code", hazard.code)
        .String("message", hazard.message)
        .object();
  });
}

Napi::Value Capabilities(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  MachineReport report = ProbeMachine();
  Result<std::unique_ptr<MissingPages>> pages = MissingPages::Create();
  report.features.push_back(
      {"userfaultfd_missing", pages.ok(), pages.ok() ? "" : pages.failure().message});
  ObjectBuilder result(env);
  result.String("kernel", report.kernel)
      .Unsigned("pageSize", SystemPageSize())
      .Value("engines", Features(env, report.engines))
      .Value("features", Features(env, report.features))
      .Value("hazards", Hazards(env, report.hazards));
  return {env, result.object()};
}

Napi::Value Engines(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const MachineReport report = ProbeEngines();
  ObjectBuilder result(env);
  result.Value("engines", Features(env, report.engines))
      .Value("features", Features(env, report.features));
  return {env, result.object()};
}

Napi::Value DirectReads(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), FindDirectReads());
}

Napi::Value Preflight(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Reader list(env, info[0]);
  Result<std::vector<CaptureSource>> sources = ReadSources(&list);
  if (!list.ok()) return {};
  if (!sources.ok()) {
    Throw(env, sources.failure());
    return env.Undefined();
  }
  const std::string directory = list.Text(info[1]);
  if (!list.ok()) return {};
  const int opened = sys::Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (opened < 0) {
    Throw(env, SystemFailure("open", -opened, "cannot open the directory of the snapshot file"));
    return env.Undefined();
  }
  const UniqueFd directory_fd(opened);
  const std::optional<uint64_t> free_bytes = FreeBytes(opened);
  uint64_t resident = 0;
  uint64_t stored = 0;
  uint64_t total = 0;
  for (const CaptureSource& source : sources.value()) {
    total += source.byte_length;
    if (source.byte_length == 0) continue;
    const Result<Residency> found = ResidencyOf(source.data, source.byte_length, kBlockSize);
    resident += found.ok() ? found.value().bytes : source.byte_length;
    stored += found.ok() ? found.value().bytes_of_units : source.byte_length;
  }
  std::vector<Hazard> hazards = HazardsFor(total);
  if (IsAppendOnly(opened)) {
    hazards.push_back(
        {"DIRECTORY_APPEND_ONLY",
         "the directory is append-only (chattr +a): a snapshot cannot replace an older "
         "one there, and none can be removed; use a new name for each, or chattr -a"});
  }
  ObjectBuilder result(env);
  result.Unsigned("availableBytes", AvailableMemory())
      .Number("freeDiskBytes", free_bytes ? static_cast<double>(*free_bytes)
                                          : std::numeric_limits<double>::infinity())
      .Unsigned("residentBytes", resident)
      .Unsigned("storedBytes", stored)
      .Value("hazards", Hazards(env, hazards));
  return {env, result.object()};
}

Napi::Value CheckTarget(const Napi::CallbackInfo& info) {
  Reader options(info.Env(), info[1]);
  const std::string path = options.Text(info[0]);
  TargetOptions target;
  target.overwrite = options.Bool("overwrite");
  if (!options.ok()) return {};
  if (Status allowed = TargetFile::Check(path, target); !allowed.ok()) {
    Throw(info.Env(), allowed.failure());
  }
  return info.Env().Undefined();
}

// For the heap addon.
Napi::Value ProcessStateValue(Napi::Env env) {
  static ProcessState state{&FlipLock(), &RegionMemory::ListRanges};
  return Napi::External<ProcessState>::New(env, &state);
}

Napi::Value IsDontForkValue(const Napi::CallbackInfo& info) {
  const std::byte* address = AddressOf(info[0]);
  // malloc never returns the start of a page, whereas V8's own reservations always begin at one.
  if (reinterpret_cast<uintptr_t>(address) % SystemPageSize() != 0) {
    return Napi::Boolean::New(info.Env(), false);
  }
  const auto length = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
  Result<bool> dont_fork = IsDontFork(address, length);
  return Napi::Boolean::New(info.Env(), dont_fork.ok() && dont_fork.value());
}

}  // namespace

void DefineMachine(Napi::Env env, Napi::Object exports) {
  exports.Set("capabilities", Napi::Function::New(env, Capabilities));
  exports.Set("engines", Napi::Function::New(env, Engines));
  exports.Set("directReads", Napi::Function::New(env, DirectReads));
  exports.Set("checkTarget", Napi::Function::New(env, CheckTarget));
  exports.Set("preflight", Napi::Function::New(env, Preflight));
  exports.Set("processState", ProcessStateValue(env));
  exports.Set("isDontFork", Napi::Function::New(env, IsDontForkValue));
  DefineFaultInjection(env, exports);
}

}  // namespace stillframe
