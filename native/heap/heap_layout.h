// The layout of objects in the heap of this V8, as far as is needed to find where each object ends.
// The numbers are V8's own: it exports them (v8dbg_*) for debuggers that read a heap without
// running it, as the summary does. If a custom build of Node lacks them, there is no histogram.
//
//   object   | map | …                       tagged pointers: the address + 1
//   map      | map of maps | size in words, …, instance type | …
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace stillframe {

// How to find the size of an object.
enum class ObjectKind : uint8_t {
  kFixed,       // from the map
  kOneByte,     // a flat string of one-byte characters
  kTwoByte,     // a flat string of two-byte characters
  kWords,       // a length in words after the map: FixedArray and similar types
  kBytes,       // a length in bytes
  kProperties,  // a length in words, in the lower bits
  kFreeSpace,   // not an object
  kUnknown,     // up to the beginning of the next object
};

struct HeapLayout {
  // Offsets, in bytes.
  size_t instance_size_in_words = 0;  // in a map; one byte; 0: the size varies
  size_t instance_type = 0;           // in a map; two bytes
  size_t string_length = 0;           // four bytes
  size_t string_characters = 0;
  size_t array_length = 0;  // a small integer
  size_t array_elements = 0;
  size_t buffer_byte_length = 0;  // in an ArrayBuffer
  size_t buffer_store = 0;
  size_t thin_string_actual = 0;
  size_t cons_string_first = 0;
  size_t cons_string_second = 0;
  size_t sliced_string_parent = 0;
  size_t sliced_string_offset = 0;  // a small integer
  size_t free_space_unit = 1;       // bytes in one unit of the size of free space
  // Instance types.
  uint16_t map = 0;
  uint16_t first_fixed_array = 0;
  uint16_t byte_array = 0;  // types from first_fixed_array up to here have the layout of FixedArray
  uint16_t property_array = 0;
  uint16_t first_context = 0;
  uint16_t last_context = 0;
  uint16_t filler = 0;
  uint16_t free_space = 0;
  uint16_t array_buffer = 0;
  std::vector<uint16_t> like_fixed_array;  // other types with the layout of FixedArray
  std::vector<uint16_t> code;              // bytecode, machine code and their metadata
  std::vector<uint16_t> shapes;            // descriptions of the properties of objects

  // The layout of the running V8, looked up once; empty if V8 does not export it. The first call
  // must come before the fork, since the dynamic linker takes locks.
  static const std::optional<HeapLayout>& OfThisProcess();

  static bool Has(const std::vector<uint16_t>& types, uint16_t type) {
    return std::count(types.begin(), types.end(), type) != 0;
  }
  bool IsString(uint16_t type) const { return type < kFirstNonstringType; }
  bool IsContext(uint16_t type) const { return type >= first_context && type <= last_context; }
  // `size` is the instance size from the map, in bytes.
  ObjectKind KindOf(uint16_t type, size_t size) const;

  // Parts of the instance types of strings, as in V8's own headers.
  static constexpr uint16_t kFirstNonstringType = 0x80;
  static constexpr uint16_t kRepresentationMask = 7;
  static constexpr uint16_t kFlat = 0;
  static constexpr uint16_t kConcatenated = 1;
  static constexpr uint16_t kExternal = 2;
  static constexpr uint16_t kSliced = 3;
  static constexpr uint16_t kThin = 5;
  static constexpr uint16_t kOneByteFlag = 8;
};

}  // namespace stillframe
