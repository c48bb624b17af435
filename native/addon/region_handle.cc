#include "addon/region_handle.h"

#include <optional>
#include <utility>

#include "addon/builder.h"
#include "addon/environment.h"
#include "addon/failure.h"
#include "addon/large_buffer.h"
#include "addon/region_share.h"
#include "freeze/fault_router.h"
#include "freeze/tracked_region.h"

namespace stillframe {

Napi::Function RegionHandle::Define(Napi::Env env) {
  Napi::Function constructor =
      DefineClass(env, "RegionHandle",
                  {InstanceMethod<&RegionHandle::Buffer>("buffer"),
                   InstanceMethod<&RegionHandle::Close>("close"),
                   InstanceMethod<&RegionHandle::PrepareWrite>("prepareWrite"),
                   InstanceAccessor<&RegionHandle::ByteLength>("byteLength"),
                   InstanceAccessor<&RegionHandle::Busy>("busy"),
                   InstanceAccessor<&RegionHandle::Filling>("filling"),
                   InstanceAccessor<&RegionHandle::Tracked>("tracked"),
                   InstanceAccessor<&RegionHandle::WrittenBytes>("writtenBytes")});
  Environment::Of(env)->region_constructor = Napi::Persistent(constructor);
  return constructor;
}

Napi::Object RegionHandle::Wrap(Napi::Env env, std::shared_ptr<RegionMemory> memory) {
  auto carrier = Napi::External<std::shared_ptr<RegionMemory>>::New(env, &memory);
  return Environment::Of(env)->region_constructor.New({carrier});
}

RegionHandle::RegionHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info[0].IsExternal()) {
    memory_ = std::move(*info[0].As<Napi::External<std::shared_ptr<RegionMemory>>>().Data());
    return;
  }
  const auto byte_length = static_cast<size_t>(info[0].As<Napi::Number>().DoubleValue());
  Result<std::shared_ptr<RegionMemory>> memory =
      RegionMemory::Allocate(byte_length, info[1].As<Napi::Boolean>());
  if (!memory.ok()) {
    Throw(info.Env(), memory.failure());
    return;
  }
  memory_ = std::move(memory.value());
  if (info[2].IsFunction()) make_shared_ = Napi::Persistent(info[2].As<Napi::Function>());
}

// Other threads may still be using shared memory, but no frame of it can be captured any more, so
// the record of its writes is dropped.
RegionHandle::~RegionHandle() {
  if (memory_ && shared()) memory_->SetCompanion(nullptr);
}

Napi::Value RegionHandle::Buffer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (const Napi::Object buffer = LivingBuffer(); !buffer.IsEmpty()) return buffer;
  if (!memory_) {
    Throw(env, Fail(FailureCode::kClosed, "the region is closed"));
    return env.Undefined();
  }
  napi_value value = shared() ? MakeSharedBuffer(env) : MakeBuffer(env);
  if (value == nullptr) {
    const Failure failure =
        Fail(FailureCode::kEngineUnavailable,
             "this JavaScript runtime does not allow an ArrayBuffer of " +
                 std::to_string(memory_->byte_length()) + " bytes over memory of an addon");
    if (!env.IsExceptionPending()) Throw(env, failure);
    return env.Undefined();
  }
  const Napi::Object buffer(env, value);
  buffer_ = Napi::Weak(buffer);
  return buffer;
}

Napi::Object RegionHandle::LivingBuffer() const {
  return buffer_.IsEmpty() ? Napi::Object() : buffer_.Value();
}

// The buffer shares ownership of the memory: it may outlive the handle, and may be transferred to
// another thread.
napi_value RegionHandle::MakeBuffer(Napi::Env env) const {
  if (NeedsLargeBuffer(env, memory_->byte_length())) return MakeLargeBuffer(memory_);
  auto* owner = new std::shared_ptr<RegionMemory>(memory_);
  const auto release = [](napi_env, void*, void* hint) {
    delete static_cast<std::shared_ptr<RegionMemory>*>(hint);
  };
  napi_value value = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, memory_->data(), memory_->byte_length(), release, owner, &value);
  if (status == napi_ok) return value;
  // A runtime that does not accept external memory (Electron) has not taken over `owner` either.
  if (status == napi_no_external_buffers_allowed) delete owner;
  return nullptr;
}

// The buffers of all threads share ownership of the memory.
napi_value RegionHandle::MakeSharedBuffer(Napi::Env env) const {
  const auto release = [](void*, size_t, void* owner) {
    delete static_cast<std::shared_ptr<RegionMemory>*>(owner);
  };
  auto* owner = new std::shared_ptr<RegionMemory>(memory_);
  RegionShare share{memory_->data(), memory_->byte_length(), owner, release};
  // The call ends before this function returns, so `share` may be on the stack.
  const napi_value buffer =
      CallFunction(env, make_shared_.Value(), {Napi::External<RegionShare>::New(env, &share)});
  if (share.owner != nullptr) release(share.data, share.byte_length, share.owner);
  return buffer;
}

Napi::Value RegionHandle::ByteLength(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), memory_ ? static_cast<double>(memory_->byte_length()) : 0);
}

Napi::Value RegionHandle::Busy(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), memory_ && memory_->busy());
}

Napi::Value RegionHandle::Filling(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), memory_ && memory_->filling());
}

Napi::Value RegionHandle::Tracked(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), memory_ && TrackedRegion::Of(*memory_) != nullptr);
}

Napi::Value RegionHandle::WrittenBytes(const Napi::CallbackInfo& info) {
  const std::shared_ptr<TrackedRegion> tracked = memory_ ? TrackedRegion::Of(*memory_) : nullptr;
  const std::optional<uint64_t> bytes = tracked ? tracked->WrittenBytes() : std::nullopt;
  if (!bytes) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), static_cast<double>(*bytes));
}

void RegionHandle::PrepareWrite(const Napi::CallbackInfo& info) {
  if (!memory_) return;
  const auto offset = static_cast<uint64_t>(info[0].As<Napi::Number>().DoubleValue());
  const auto length = static_cast<uint64_t>(info[1].As<Napi::Number>().DoubleValue());
  PrepareArmedForWrite(memory_->data() + offset, length);
}

void RegionHandle::Close(const Napi::CallbackInfo& info) {
  if (!memory_) return;
  // A SharedArrayBuffer cannot be detached, and other threads may be using the memory.
  bool reachable = shared();
  if (const Napi::Object buffer = LivingBuffer(); !shared() && !buffer.IsEmpty()) {
    // If the buffer is detached already it was transferred, and its receiver uses the memory from
    // now on.
    reachable = buffer.As<Napi::ArrayBuffer>().IsDetached();
    // From here on views of the buffer have length 0.
    napi_detach_arraybuffer(info.Env(), buffer);
    buffer_.Reset();
  }
  // No frame of the region can be captured any more, however long its memory lives.
  memory_->SetCompanion(nullptr);
  // The garbage collector frees the buffer at some later time. The pages should not stay until
  // then.
  if (!reachable) memory_->Discard();
  memory_.reset();
}

}  // namespace stillframe
