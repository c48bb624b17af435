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

// Fails silently, with `array` failed, if the environment is ending.
Result<std::vector<CaptureSource>> ReadSources(Reader* array);

// undefined and missing become a null pointer.
std::shared_ptr<RegionMemory> RegionOf(Reader* reader, napi_value value);

}  // namespace stillframe
