#include "heap/heap_layout.h"

#include <dlfcn.h>

#include <initializer_list>
#include <string>

namespace stillframe {
namespace {

// Reads V8's exports, and records whether all of them were there.
class Exports {
 public:
  template <typename Number>
  Exports& Read(const char* name, Number* into) {
    if (const std::optional<int> value = Find(name)) {
      *into = static_cast<Number>(*value);
    } else {
      complete_ = false;
    }
    return *this;
  }
  static std::optional<int> Find(const char* name) {
    const auto* value =
        static_cast<const int*>(dlsym(RTLD_DEFAULT, (std::string("v8dbg_") + name).c_str()));
    if (value == nullptr) return std::nullopt;
    return *value;
  }
  bool complete() const { return complete_; }

 private:
  bool complete_ = true;
};

// The numbers of these instance types, as far as this V8 has them.
std::vector<uint16_t> TypesOf(std::initializer_list<const char*> names) {
  std::vector<uint16_t> types;
  for (const char* name : names) {
    const std::optional<int> type = Exports::Find(("type_" + std::string(name) + "_TYPE").c_str());
    if (type) types.push_back(static_cast<uint16_t>(*type));
  }
  return types;
}

std::optional<HeapLayout> Look() {
  HeapLayout layout;
  uint16_t feedback_vector = 0;
  int tagged_size = 0;
  Exports exports;
  exports.Read("TaggedSize", &tagged_size)
      .Read("class_Map__instance_size_in_words__char", &layout.instance_size_in_words)
      .Read("class_Map__instance_type__uint16_t", &layout.instance_type)
      .Read("class_String__length__int32_t", &layout.string_length)
      .Read("class_SeqOneByteString__chars__char", &layout.string_characters)
      .Read("class_FixedArrayBase__length__SMI", &layout.array_length)
      .Read("class_FixedArray__data__uintptr_t", &layout.array_elements)
      .Read("class_JSArrayBuffer__byte_length__size_t", &layout.buffer_byte_length)
      .Read("class_JSArrayBuffer__backing_store__uintptr_t", &layout.buffer_store)
      .Read("class_ThinString__actual__String", &layout.thin_string_actual)
      .Read("class_ConsString__first__String", &layout.cons_string_first)
      .Read("class_ConsString__second__String", &layout.cons_string_second)
      .Read("class_SlicedString__parent__String", &layout.sliced_string_parent)
      .Read("class_SlicedString__offset__SMI", &layout.sliced_string_offset)
      .Read("type_Map__MAP_TYPE", &layout.map)
      .Read("type_FixedArray__FIXED_ARRAY_TYPE", &layout.first_fixed_array)
      .Read("type_ByteArray__BYTE_ARRAY_TYPE", &layout.byte_array)
      .Read("type_PropertyArray__PROPERTY_ARRAY_TYPE", &layout.property_array)
      .Read("FirstContextType", &layout.first_context)
      .Read("LastContextType", &layout.last_context)
      .Read("type_JSArrayBuffer__JS_ARRAY_BUFFER_TYPE", &layout.array_buffer)
      .Read("type_FeedbackVector__FEEDBACK_VECTOR_TYPE", &feedback_vector);
  // Requires a heap without compressed pointers: 8 bytes, with small integers in the upper half of
  // a word.
  if (!exports.complete() || tagged_size != sizeof(uintptr_t)) return std::nullopt;
  // V8 sorts its types by name, and since version 13 does not export these two.
  layout.filler = feedback_vector + 1;
  layout.free_space = feedback_vector + 2;
  const std::optional<int> free_space = Exports::Find("type_FreeSpace__FREE_SPACE_TYPE");
  if (free_space && *free_space != layout.free_space) return std::nullopt;
  // Since that version the size of free space is in words, too.
  if (!free_space) layout.free_space_unit = sizeof(uintptr_t);
  layout.like_fixed_array =
      TypesOf({"FixedDoubleArray__FIXED_DOUBLE_ARRAY", "WeakFixedArray__WEAK_FIXED_ARRAY",
               "EmbedderDataArray__EMBEDDER_DATA_ARRAY", "TrustedFixedArray__TRUSTED_FIXED_ARRAY",
               "ProtectedFixedArray__PROTECTED_FIXED_ARRAY"});
  layout.code = TypesOf(
      {"BytecodeArray__BYTECODE_ARRAY", "InstructionStream__INSTRUCTION_STREAM", "Code__CODE",
       "FeedbackVector__FEEDBACK_VECTOR", "FeedbackCell__FEEDBACK_CELL", "ScopeInfo__SCOPE_INFO",
       "SharedFunctionInfo__SHARED_FUNCTION_INFO", "Script__SCRIPT", "PreparseData__PREPARSE_DATA",
       "UncompiledDataWithPreparseData__UNCOMPILED_DATA_WITH_PREPARSE_DATA",
       "UncompiledDataWithoutPreparseData__UNCOMPILED_DATA_WITHOUT_PREPARSE_DATA"});
  layout.shapes = TypesOf({"Map__MAP", "DescriptorArray__DESCRIPTOR_ARRAY",
                           "StrongDescriptorArray__STRONG_DESCRIPTOR_ARRAY",
                           "PrototypeInfo__PROTOTYPE_INFO", "EnumCache__ENUM_CACHE"});
  return layout;
}

}  // namespace

const std::optional<HeapLayout>& HeapLayout::OfThisProcess() {
  static const std::optional<HeapLayout> layout = Look();
  return layout;
}

ObjectKind HeapLayout::KindOf(uint16_t type, size_t size) const {
  if (size != 0) return ObjectKind::kFixed;
  if (IsString(type)) {
    if ((type & kRepresentationMask) != kFlat) return ObjectKind::kUnknown;
    return (type & kOneByteFlag) != 0 ? ObjectKind::kOneByte : ObjectKind::kTwoByte;
  }
  if (type == free_space) return ObjectKind::kFreeSpace;
  if (type == byte_array) return ObjectKind::kBytes;
  if (type == property_array) return ObjectKind::kProperties;
  const bool array = type >= first_fixed_array && type < byte_array;
  if (array || IsContext(type) || Has(like_fixed_array, type)) return ObjectKind::kWords;
  return ObjectKind::kUnknown;
}

}  // namespace stillframe
