// restore: runs native/restore/ on a thread of its own, and fills memory owned by JavaScript.
#pragma once

#include <napi.h>

namespace stillframe {

Napi::Value StartRestore(const Napi::CallbackInfo& info);

}  // namespace stillframe
