// restore: native/restore/ on a thread of its own, and the memory of JavaScript that it fills.
#pragma once

#include <napi.h>

namespace stillframe {

Napi::Value StartRestore(const Napi::CallbackInfo& info);

}  // namespace stillframe
