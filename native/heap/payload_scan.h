// Checks what V8's ValueSerializer has written, without V8 and without recursion: can it be read
// with less stack, and by any version of Node? The time is linear in the size of the payload, and
// memory is needed only for the containers that are open. The format is V8's
// (src/objects/value-serializer.cc, version 15), with the views of native/heap/value_writer.cc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// A flag in the type of a view that shares its buffer. The buffer then follows as one of V8's
// values.
constexpr uint32_t kSharedView = 32;

struct PayloadShape {
  // Null if the payload can be read. Otherwise the reason why not, as the rest of a sentence that
  // begins with "the value".
  const char* problem = nullptr;
  // The largest number of containers nested within one another.
  uint32_t depth = 0;
  // True if the value contains ArrayBuffers themselves, not only views of them.
  bool has_array_buffers = false;
};

// `cyclic_errors`: true if this V8 can read an error whose cause leads back to the error.
PayloadShape ScanPayload(const uint8_t* bytes, size_t length, bool cyclic_errors);

}  // namespace stillframe
