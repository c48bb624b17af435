// RegionHandle of lib/addon/addon.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "memory/region.h"

namespace stillframe {

class RegionHandle : public Napi::ObjectWrap<RegionHandle> {
 public:
  static Napi::Function Define(Napi::Env env);
  // A handle for memory that exists already (a restored section).
  static Napi::Object Wrap(Napi::Env env, std::shared_ptr<RegionMemory> memory);
  explicit RegionHandle(const Napi::CallbackInfo& info);

  // Null after close().
  const std::shared_ptr<RegionMemory>& memory() const { return memory_; }

 private:
  napi_value MakeBuffer(Napi::Env env) const;
  Napi::Value Buffer(const Napi::CallbackInfo& info);
  Napi::Value ByteLength(const Napi::CallbackInfo& info);
  Napi::Value Busy(const Napi::CallbackInfo& info);
  Napi::Value Tracked(const Napi::CallbackInfo& info);
  void PrepareWrite(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  std::shared_ptr<RegionMemory> memory_;
  Napi::Reference<Napi::ArrayBuffer> buffer_;
};

}  // namespace stillframe
