// The only place where a native Failure becomes a JS error.
#pragma once

#include <napi.h>

#include "base/result.h"

namespace stillframe {

// An Error with the properties of NativeFailure in lib/addon/addon.ts.
Napi::Value ToError(Napi::Env env, const Failure& failure);
// Throws that Error.
void Throw(Napi::Env env, const Failure& failure);

}  // namespace stillframe
