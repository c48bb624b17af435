// Reads NativeSource objects of lib/addon.ts.
#pragma once

#include <napi.h>

#include <vector>

#include "base/result.h"
#include "capture/capture.h"

namespace stillframe {

// The address that a one-element Uint8Array carries.
std::byte* AddressOf(const Napi::Value& head);

Result<std::vector<CaptureSource>> ReadSources(const Napi::Array& array);

// undefined and missing become a null pointer.
std::shared_ptr<RegionMemory> RegionOf(const Napi::Value& value);

}  // namespace stillframe
