#include "addon/large_buffer.h"

#include <dlfcn.h>

#include <new>
#include <utility>

#include "addon/shared_store.h"

namespace stillframe {
namespace {

constexpr size_t kBufferMax = size_t{1} << 32;
constexpr uint32_t kNodeWithLimit = 20;

// Opaque stand-in for v8::BackingStore.
struct BackingStore;

// The calling convention of std::unique_ptr<BackingStore>: returned through memory.
struct OwnedStore {
  BackingStore* store = nullptr;
  OwnedStore() = default;
  OwnedStore(OwnedStore&& other) noexcept : store(std::exchange(other.store, nullptr)) {}
  ~OwnedStore() {}  // NOLINT: not trivial on purpose
};

using Deleter = void (*)(void* data, size_t length, void* deleter_data);
using GetCurrentIsolate = void* (*)();
using NewBackingStore = OwnedStore (*)(void* data, size_t length, Deleter deleter,
                                       void* deleter_data);
using NewArrayBuffer = napi_value (*)(void* isolate, SharedStore store);
using DestroyBackingStore = void (*)(BackingStore* store);

template <typename Function>
Function Find(const char* mangled_name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, mangled_name));
}

// v8::BackingStore::~BackingStore()
DestroyBackingStore FindDestroy() { return Find<DestroyBackingStore>("_ZN2v812BackingStoreD1Ev"); }

void DropStore(void* store) {
  FindDestroy()(static_cast<BackingStore*>(store));
  ::operator delete(store);
}

// Called on any thread: V8 sweeps ArrayBuffers in the background.
void DropMemory(void* /*data*/, size_t /*length*/, void* owner) {
  delete static_cast<std::shared_ptr<RegionMemory>*>(owner);
}

}  // namespace

bool NeedsLargeBuffer(Napi::Env env, size_t byte_length) {
  const napi_node_version* version = nullptr;
  if (napi_get_node_version(env, &version) != napi_ok) return false;
  return version->major <= kNodeWithLimit && byte_length > kBufferMax;
}

napi_value MakeLargeBuffer(const std::shared_ptr<RegionMemory>& memory) {
  // v8::Isolate::GetCurrent(), v8::ArrayBuffer::NewBackingStore(data, length, deleter, data),
  // v8::ArrayBuffer::New(isolate, store)
  const auto current_isolate = Find<GetCurrentIsolate>("_ZN2v87Isolate10GetCurrentEv");
  const auto new_store =
      Find<NewBackingStore>("_ZN2v811ArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_");
  const auto new_buffer = Find<NewArrayBuffer>(
      "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE");
  if (current_isolate == nullptr || new_store == nullptr || new_buffer == nullptr ||
      FindDestroy() == nullptr) {
    return nullptr;
  }
  auto* owner = new std::shared_ptr<RegionMemory>(memory);
  OwnedStore owned = new_store(memory->data(), memory->byte_length(), DropMemory, owner);
  SharedStore store(std::exchange(owned.store, nullptr), DropStore);
  return new_buffer(current_isolate(), std::move(store));
}

}  // namespace stillframe
