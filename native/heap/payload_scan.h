// Looks over what V8's ValueSerializer has written, without V8 and without recursion: can it be read where there is less
// stack, and by any Node? Linear in the payload, memory only for the containers that are open. The format is V8's
// (src/objects/value-serializer.cc, version 15), with the views of native/heap/value_writer.cc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// Of a view that shares its buffer: flag in its type, and the buffer follows as a value of V8's.
constexpr uint32_t kSharedView = 32;

struct PayloadShape {
  // Null: it can be read. Otherwise why not, to stand behind "the value".
  const char* problem = nullptr;
  // Containers in containers, at the deepest place.
  uint32_t depth = 0;
  // ArrayBuffers that stand in the value themselves.
  bool has_array_buffers = false;
};

// `cyclic_errors`: this V8 reads an error whose cause leads back to it.
PayloadShape ScanPayload(const uint8_t* bytes, size_t length, bool cyclic_errors);

}  // namespace stillframe
