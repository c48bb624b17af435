// Looks over what V8's ValueSerializer has written, without V8 and without recursion: can it be
// read with less stack, and by any Node? The time is linear in the payload, and memory is taken
// only for the containers that are open. The format is V8's (src/objects/value-serializer.cc,
// version 15), with the views of native/heap/value_writer.cc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe {

// For a view that shares its buffer: this flag is in its type, and the buffer follows as a value of
// V8's.
constexpr uint32_t kSharedView = 32;

struct PayloadShape {
  // Null: it can be read. Otherwise why not, as the rest of a sentence that begins with "the
  // value".
  const char* problem = nullptr;
  // How many containers are within one another at the deepest place.
  uint32_t depth = 0;
  // Whether the value contains ArrayBuffers themselves, not only views of them.
  bool has_array_buffers = false;
};

// `cyclic_errors`: whether this V8 can read an error whose cause leads back to it.
PayloadShape ScanPayload(const uint8_t* bytes, size_t length, bool cyclic_errors);

}  // namespace stillframe
