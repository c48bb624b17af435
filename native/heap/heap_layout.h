// How objects lie in the heap of this V8, as far as one must know to find where each ends. The
// numbers are V8's own: it exports them (v8dbg_*) for debuggers that look at a heap without running
// it, and so does the summary. Without them, in a build of somebody's own, there is no histogram.
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

// How the size of an object is found.
enum class ObjectKind : uint8_t {
  kFixed,       // the map has it
  kOneByte,     // a flat string
  kTwoByte,     // likewise
  kWords,       // a length in words behind the map: FixedArray and its like
  kBytes,       // a length in bytes
  kProperties,  // a length in words in the lower bits
  kFreeSpace,   // no object
  kUnknown,     // ends where the next one begins
};

struct HeapLayout {
  // Offsets in bytes.
  size_t instance_size_in_words = 0;  // of a map; one byte; 0: the size varies
  size_t instance_type = 0;           // of a map; two bytes
  size_t string_length = 0;           // four bytes
  size_t string_characters = 0;
  size_t array_length = 0;  // a small integer
  size_t array_elements = 0;
  size_t buffer_byte_length = 0;  // of an ArrayBuffer
  size_t buffer_store = 0;
  size_t thin_string_actual = 0;
  size_t cons_string_first = 0;
  size_t cons_string_second = 0;
  size_t sliced_string_parent = 0;
  size_t sliced_string_offset = 0;  // a small integer
  size_t free_space_unit = 1;       // bytes that the size of free space counts in
  // Instance types.
  uint16_t map = 0;
  uint16_t first_fixed_array = 0;
  uint16_t byte_array = 0;  // what is between the two lies as FixedArray does
  uint16_t property_array = 0;
  uint16_t first_context = 0;
  uint16_t last_context = 0;
  uint16_t filler = 0;
  uint16_t free_space = 0;
  uint16_t array_buffer = 0;
  std::vector<uint16_t> like_fixed_array;  // others that do
  std::vector<uint16_t> code;              // bytecode, machine code, and what belongs to them
  std::vector<uint16_t> shapes;            // what describes the properties of objects

  // Of the running V8; looked up once. Nothing if it does not tell. Before the fork: the dynamic
  // linker has locks.
  static const std::optional<HeapLayout>& OfThisProcess();

  static bool Has(const std::vector<uint16_t>& types, uint16_t type) {
    return std::count(types.begin(), types.end(), type) != 0;
  }
  bool IsString(uint16_t type) const { return type < kFirstNonstringType; }
  bool IsContext(uint16_t type) const { return type >= first_context && type <= last_context; }
  // `size` is what the map says, in bytes.
  ObjectKind KindOf(uint16_t type, size_t size) const;

  // Of the instance types of strings, as in V8's own headers.
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
