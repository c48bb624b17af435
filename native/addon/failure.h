// The border: a native Failure becomes a JS error here, and nowhere else.
#pragma once

#include <napi.h>

#include "base/result.h"

namespace stillframe {

// An Error with the properties of NativeFailure in lib/addon/addon.ts.
Napi::Value ToError(Napi::Env env, const Failure& failure);
// Throws it.
void Throw(Napi::Env env, const Failure& failure);

}  // namespace stillframe
