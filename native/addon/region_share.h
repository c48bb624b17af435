// The memory of a region on its way to the second addon, which makes a SharedArrayBuffer of it:
// Node-API has no call for that in all versions of Node (docs/decisions/0026).
#pragma once

#include <cstddef>

namespace stillframe {

struct RegionShare {
  void* data;
  size_t byte_length;
  // Keeps the memory mapped. Whoever takes it sets it to null here, and gives it to `release` when
  // nobody can reach the memory through the buffer any more, on whatever thread that is.
  void* owner;
  void (*release)(void* data, size_t byte_length, void* owner);
};

}  // namespace stillframe
