// ArrayBuffers of more than 4 GiB on Node 20.
//
// Node-API creates an external ArrayBuffer by way of a Buffer, and on Node 20 a Buffer is limited
// to 4 GiB, although V8 itself has no such limit. Since the V8 of Node 20 will not change any more,
// this code calls its functions directly, on Node 20 only, and looks them up by name when it needs
// them. Later versions of Node need none of this.
#pragma once

#include <napi.h>

#include <memory>

#include "memory/region.h"

namespace stillframe {

// True if Node-API in this version of Node cannot create an external ArrayBuffer of this length.
bool NeedsLargeBuffer(Napi::Env env, size_t byte_length);

// Returns null if the functions of V8 are not found.
napi_value MakeLargeBuffer(const std::shared_ptr<RegionMemory>& memory);

}  // namespace stillframe
