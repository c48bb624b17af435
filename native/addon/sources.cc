#include "addon/sources.h"

#include <utility>

#include "addon/region_handle.h"

namespace stillframe {

std::byte* AddressOf(const Napi::Value& head) {
  return reinterpret_cast<std::byte*>(head.As<Napi::Uint8Array>().Data());
}

std::shared_ptr<RegionMemory> RegionOf(Reader* reader, napi_value value) {
  if (reader->TypeOf(value) != napi_object) return nullptr;
  void* handle = nullptr;
  reader->Check(napi_unwrap(reader->env(), value, &handle));
  return handle != nullptr ? static_cast<RegionHandle*>(handle)->memory() : nullptr;
}

Result<std::vector<CaptureSource>> ReadSources(Reader* array) {
  std::vector<CaptureSource> sources;
  const uint32_t length = array->Length();
  for (uint32_t i = 0; i < length && array->ok(); i++) {
    Reader object(array->env(), array->At(i));
    object.Include(*array);
    CaptureSource source;
    source.name = object.String("name");
    source.byte_length = object.Unsigned("byteLength");
    source.dont_fork = object.Bool("dontFork");
    const napi_value region = object.Get("region");
    const napi_value head = object.Get("head");
    if (object.TypeOf(region) == napi_object) {
      std::shared_ptr<RegionMemory> memory = RegionOf(&object, region);
      if (!memory) {
        return Fail(FailureCode::kClosed, "the region of section '" + source.name + "' is closed");
      }
      source.data = memory->data();
      source.region = RegionUse(std::move(memory));
    }
    // Together with a region, `head` and byteLength select a part of it.
    if (object.TypeOf(head) == napi_object) source.data = object.Address(head);
    array->Include(object);
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace stillframe
