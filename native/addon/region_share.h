// Hands the memory of a region to the heap addon, which makes a SharedArrayBuffer of it. Not all
// supported versions of Node have a Node-API call for that (docs/decisions/0026).
#pragma once

#include <cstddef>

namespace stillframe {

struct RegionShare {
  void* data;
  size_t byte_length;
  // Keeps the memory mapped. The receiver sets it to null here to take it over, and passes it to
  // `release`, on any thread, when the memory is no longer reachable through the buffer.
  void* owner;
  void (*release)(void* data, size_t byte_length, void* owner);
};

}  // namespace stillframe
