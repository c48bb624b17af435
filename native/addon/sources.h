// Reads NativeSource objects of lib/addon/addon.ts.
#pragma once

#include <napi.h>

#include <vector>

#include "addon/reader.h"
#include "base/result.h"
#include "capture/capture.h"

namespace stillframe {

// The address that a one-element Uint8Array carries.
std::byte* AddressOf(const Napi::Value& head);

// If the environment is ending, `array` is failed afterwards and the result means nothing, so check
// `array` first.
Result<std::vector<CaptureSource>> ReadSources(Reader* array);

// Null if `value` is undefined or missing, or if the region is closed.
std::shared_ptr<RegionMemory> RegionOf(Reader* reader, napi_value value);

}  // namespace stillframe
