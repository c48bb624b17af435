#include "heap/shared_buffer.h"

#include <v8.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "addon/failure.h"
#include "addon/region_share.h"
#include "addon/shared_store.h"

namespace stillframe {
namespace {

// V8 does not count shared memory towards garbage collection, so a service that drops one shared
// region after another would run out of memory before anything was collected. So this buffer counts
// as external memory of its size as long as this thread has it; copies in other threads count as
// nothing.
void Weigh(Napi::Env env, napi_value buffer, size_t byte_length) {
  if (byte_length == 0) return;
  const auto release = [](napi_env on, void* weight, void* /*hint*/) {
    int64_t total = 0;
    napi_adjust_external_memory(on, -static_cast<int64_t>(reinterpret_cast<uintptr_t>(weight)),
                                &total);
  };
  void* weight = reinterpret_cast<void*>(byte_length);
  if (napi_add_finalizer(env, buffer, weight, release, nullptr, nullptr) != napi_ok) return;
  int64_t total = 0;
  napi_adjust_external_memory(env, static_cast<int64_t>(byte_length), &total);
}

}  // namespace

// v8::SharedArrayBuffer::New(isolate, store), which cannot be called with a SharedStore otherwise.
v8::Local<v8::SharedArrayBuffer>
NewSharedArrayBuffer(v8::Isolate* isolate, SharedStore store) __asm__(
    "_ZN2v817SharedArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE");

Napi::Value MakeSharedBuffer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
#ifdef V8_ENABLE_SANDBOX
  Throw(env, Fail(FailureCode::kEngineUnavailable,
                  "this Node is built with V8's sandbox, which allows no SharedArrayBuffer over "
                  "memory of an addon. Use a Node without it, or a Region that is not shared"));
  return env.Undefined();
#else
  auto* share = info[0].As<Napi::External<RegionShare>>().Data();
  std::unique_ptr<v8::BackingStore> store = v8::SharedArrayBuffer::NewBackingStore(
      share->data, share->byte_length, share->release, std::exchange(share->owner, nullptr));
  const v8::Local<v8::SharedArrayBuffer> made =
      NewSharedArrayBuffer(v8::Isolate::GetCurrent(), SharedStore(store.release(), [](void* owned) {
                             delete static_cast<v8::BackingStore*>(owned);
                           }));
  napi_value buffer = nullptr;
  // NOLINTBEGIN(bugprone-sizeof-expression): the size of the handles is meant, not of what they
  // stand for.
  static_assert(sizeof buffer == sizeof made, "a napi_value is a Local");
  memcpy(&buffer, &made, sizeof buffer);
  // NOLINTEND(bugprone-sizeof-expression)
  Weigh(env, buffer, share->byte_length);
  return {env, buffer};
#endif
}

}  // namespace stillframe
