// ArrayBuffers of more than 4 GiB on Node 20.
//
// Node-API makes an external ArrayBuffer by way of a Buffer, and on Node 20 a Buffer ends at 4 GiB;
// V8 itself has no such limit. The V8 of Node 20 will not change any more, so there, and only
// there, its own functions are called, which are found by name when they are needed. Later versions
// of Node need none of this.
#pragma once

#include <napi.h>

#include <memory>

#include "memory/region.h"

namespace stillframe {

// Whether Node-API cannot make an external ArrayBuffer of this length in this version of Node.
bool NeedsLargeBuffer(Napi::Env env, size_t byte_length);

// Null if V8's functions are not found.
napi_value MakeLargeBuffer(const std::shared_ptr<RegionMemory>& memory);

}  // namespace stillframe
