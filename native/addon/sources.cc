#include "addon/sources.h"

#include <utility>

#include "addon/region_handle.h"

namespace stillframe {

std::byte* AddressOf(const Napi::Value& head) {
  return reinterpret_cast<std::byte*>(head.As<Napi::Uint8Array>().Data());
}

std::shared_ptr<RegionMemory> RegionOf(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  return RegionHandle::Unwrap(value.As<Napi::Object>())->memory();
}

Result<std::vector<CaptureSource>> ReadSources(const Napi::Array& array) {
  std::vector<CaptureSource> sources;
  for (uint32_t i = 0; i < array.Length(); i++) {
    const auto object = array.Get(i).As<Napi::Object>();
    CaptureSource source;
    source.name = object.Get("name").As<Napi::String>().Utf8Value();
    source.byte_length =
        static_cast<uint64_t>(object.Get("byteLength").As<Napi::Number>().DoubleValue());
    source.dont_fork = object.Get("dontFork").As<Napi::Boolean>();
    const Napi::Value region = object.Get("region");
    const Napi::Value head = object.Get("head");
    if (region.IsObject()) {
      std::shared_ptr<RegionMemory> memory = RegionOf(region);
      if (!memory) {
        Failure failure;
        failure.code = FailureCode::kClosed;
        failure.message = "the region of section '" + source.name + "' is closed";
        return failure;
      }
      source.data = memory->data();
      source.dont_fork = true;
      source.region = RegionUse(std::move(memory));
    }
    // With a region as well: these bytes of it.
    if (head.IsTypedArray()) source.data = AddressOf(head);
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace stillframe
