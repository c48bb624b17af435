#include "addon/machine.h"

#include <fcntl.h>

#include "addon/failure.h"
#include "addon/sources.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "freeze/features.h"
#include "image/format.h"
#include "memory/mapping_list.h"
#include "memory/page.h"

namespace stillframe {
namespace {

Napi::Array Features(Napi::Env env, const std::vector<Feature>& features) {
  Napi::Array array = Napi::Array::New(env, features.size());
  for (uint32_t i = 0; i < features.size(); i++) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", features[i].name);
    entry.Set("available", features[i].available);
    entry.Set("reason", features[i].reason);
    array.Set(i, entry);
  }
  return array;
}

Napi::Array Hazards(Napi::Env env, const std::vector<Hazard>& hazards) {
  Napi::Array array = Napi::Array::New(env, hazards.size());
  for (uint32_t i = 0; i < hazards.size(); i++) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("code", hazards[i].code);
    entry.Set("message", hazards[i].message);
    array.Set(i, entry);
  }
  return array;
}

Napi::Value Capabilities(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const MachineReport report = ProbeMachine();
  Napi::Object result = Napi::Object::New(env);
  result.Set("kernel", report.kernel);
  result.Set("pageSize", static_cast<double>(SystemPageSize()));
  result.Set("engines", Features(env, report.engines));
  result.Set("features", Features(env, report.features));
  result.Set("hazards", Hazards(env, report.hazards));
  return result;
}

Napi::Value Engines(const Napi::CallbackInfo& info) {
  const MachineReport report = ProbeEngines();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("engines", Features(info.Env(), report.engines));
  result.Set("features", Features(info.Env(), report.features));
  return result;
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
  struct statfs disk {};
  if (const int error = sys::Fstatfs(opened, &disk); error < 0) {
    Throw(env, SystemFailure("fstatfs", -error, "cannot ask the filesystem for its free space"));
    return env.Undefined();
  }
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
  Napi::Object result = Napi::Object::New(env);
  result.Set("availableBytes", static_cast<double>(AvailableMemory()));
  result.Set("freeDiskBytes",
             static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_bsize));
  result.Set("residentBytes", static_cast<double>(resident));
  result.Set("storedBytes", static_cast<double>(stored));
  result.Set("hazards", Hazards(env, HazardsFor(total)));
  return result;
}

Napi::Value IsDontForkValue(const Napi::CallbackInfo& info) {
  const std::byte* address = AddressOf(info[0]);
  // malloc never answers with the start of a page, V8's own reservations always do.
  if (reinterpret_cast<uintptr_t>(address) % SystemPageSize() != 0) {
    return Napi::Boolean::New(info.Env(), false);
  }
  Result<bool> dont_fork = IsDontFork(address);
  return Napi::Boolean::New(info.Env(), dont_fork.ok() && dont_fork.value());
}

void InjectFault(const Napi::CallbackInfo& info) {
  const std::string call = info[0].As<Napi::String>();
  const bool known =
      sys::InjectFault(call.c_str(), info[1].As<Napi::Number>().Uint32Value(),
                       info[2].As<Napi::Number>().Int32Value(), info[3].As<Napi::Boolean>());
  if (!known)
    Napi::TypeError::New(info.Env(), "no such call: " + call).ThrowAsJavaScriptException();
}

Napi::Value ClearFaults(const Napi::CallbackInfo& info) {
  Napi::Object counts = Napi::Object::New(info.Env());
  for (size_t i = 0; i < static_cast<size_t>(sys::Call::kCount); i++) {
    const auto call = static_cast<sys::Call>(i);
    counts.Set(sys::CallName(call), sys::CallCount(call));
  }
  sys::ClearFaults();
  return counts;
}

}  // namespace

void DefineMachine(Napi::Env env, Napi::Object exports) {
  exports.Set("capabilities", Napi::Function::New(env, Capabilities));
  exports.Set("engines", Napi::Function::New(env, Engines));
  exports.Set("preflight", Napi::Function::New(env, Preflight));
  exports.Set("isDontFork", Napi::Function::New(env, IsDontForkValue));
  exports.Set("injectFault", Napi::Function::New(env, InjectFault));
  exports.Set("clearFaults", Napi::Function::New(env, ClearFaults));
}

}  // namespace stillframe
