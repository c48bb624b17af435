#include "addon/failure.h"

#include <uv.h>

namespace stillframe {

Napi::Value ToError(Napi::Env env, const Failure& failure) {
  Napi::Object error = Napi::Error::New(env, failure.message).Value();
  error.Set("failure", FailureName(failure.code));
  error.Set("errno", failure.error_number);
  error.Set("errnoName", failure.error_number != 0 ? uv_err_name(-failure.error_number) : "");
  error.Set("syscall", failure.syscall);
  error.Set("offset", static_cast<double>(failure.offset));
  error.Set("section", failure.section);
  return error;
}

void Throw(Napi::Env env, const Failure& failure) { napi_throw(env, ToError(env, failure)); }

}  // namespace stillframe
