#include "addon/failure.h"

#include <uv.h>

namespace stillframe {

// Uses the C interface and ignores all statuses: while an environment is ending every call fails,
// and there is no caller left to inform.
Napi::Value ToError(Napi::Env env, const Failure& failure) {
  const auto text = [&](const std::string& value) {
    napi_value result = nullptr;
    napi_create_string_utf8(env, value.data(), value.size(), &result);
    return result;
  };
  const auto number = [&](double value) {
    napi_value result = nullptr;
    napi_create_double(env, value, &result);
    return result;
  };
  napi_value error = nullptr;
  if (napi_create_error(env, nullptr, text(failure.message), &error) != napi_ok) return {};
  const char* name = failure.error_number != 0 ? uv_err_name(-failure.error_number) : "";
  napi_set_named_property(env, error, "failure", text(FailureName(failure.code)));
  napi_set_named_property(env, error, "errno", number(failure.error_number));
  napi_set_named_property(env, error, "errnoName", text(name));
  napi_set_named_property(env, error, "syscall", text(failure.syscall));
  napi_set_named_property(env, error, "offset", number(static_cast<double>(failure.offset)));
  napi_set_named_property(env, error, "section", text(failure.section));
  return {env, error};
}

void Throw(Napi::Env env, const Failure& failure) {
  const napi_value error = ToError(env, failure);
  if (error != nullptr) napi_throw(env, error);
}

}  // namespace stillframe
