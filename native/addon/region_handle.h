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
  ~RegionHandle() override;

  // Null after close().
  const std::shared_ptr<RegionMemory>& memory() const { return memory_; }

 private:
  napi_value MakeBuffer(Napi::Env env) const;
  napi_value MakeSharedBuffer(Napi::Env env) const;
  Napi::Value Buffer(const Napi::CallbackInfo& info);
  Napi::Value ByteLength(const Napi::CallbackInfo& info);
  Napi::Value Busy(const Napi::CallbackInfo& info);
  Napi::Value Filling(const Napi::CallbackInfo& info);
  Napi::Value Tracked(const Napi::CallbackInfo& info);
  Napi::Value WrittenBytes(const Napi::CallbackInfo& info);
  void PrepareWrite(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  // The buffer; empty if it has not been created or no longer exists.
  Napi::Object LivingBuffer() const;
  bool shared() const { return !make_shared_.IsEmpty(); }

  std::shared_ptr<RegionMemory> memory_;
  // makeSharedBuffer() of the heap addon; empty unless the buffer is to be shared.
  Napi::FunctionReference make_shared_;
  // Weak: the buffer refers to its Region, and the Region to this handle, so a strong reference
  // would complete a cycle that is never collected. The Region keeps the buffer alive.
  Napi::ObjectReference buffer_;
};

}  // namespace stillframe
