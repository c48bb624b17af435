#include "addon/fault_injection.h"

#include <string>

#include "base/sys.h"

namespace stillframe {
namespace {

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

void DefineFaultInjection(Napi::Env env, Napi::Object exports) {
  exports.Set("injectFault", Napi::Function::New(env, InjectFault));
  exports.Set("clearFaults", Napi::Function::New(env, ClearFaults));
}

}  // namespace stillframe
