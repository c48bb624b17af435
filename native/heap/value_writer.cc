#include "heap/value_writer.h"

#include <node.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "addon/shared_store.h"
#include "heap/payload_scan.h"

namespace stillframe {
namespace {

// Node 20 reads an error whose cause leads back to it in the wrong order.
constexpr bool kCyclicErrors = NODE_MAJOR_VERSION >= 22;

v8::Local<v8::String> ToString(v8::Isolate* isolate, const std::string& text) {
  return v8::String::NewFromUtf8(isolate, text.data(), v8::NewStringType::kNormal,
                                 static_cast<int>(text.size()))
      .ToLocalChecked();
}

std::string ToText(v8::Isolate* isolate, v8::Local<v8::Value> value) {
  const v8::String::Utf8Value text(isolate, value);
  return *text == nullptr ? "" : std::string(*text, static_cast<size_t>(text.length()));
}

class CloneRules final : public v8::ValueSerializer::Delegate {
 public:
  CloneRules(v8::Isolate* isolate, v8::Local<v8::Object> rules, size_t limit)
      : isolate_(isolate),
        context_(isolate->GetCurrentContext()),
        rules_(rules),
        limit_(limit),
        plain_(v8::Object::New(isolate)) {}

  void Use(v8::ValueSerializer* serializer) { serializer_ = serializer; }

  // Why the value was refused; empty if something else was thrown.
  const std::string& refusal() const { return refusal_; }

  void ThrowDataCloneError(v8::Local<v8::String> message) override {
    Refuse(too_large_ ? TooLarge() : "cannot be saved: " + ToText(isolate_, message));
  }

#if NODE_MAJOR_VERSION >= 22
  bool HasCustomHostObject(v8::Isolate* /*isolate*/) override { return true; }
  v8::Maybe<bool> IsHostObject(v8::Isolate* isolate, v8::Local<v8::Object> object) override {
    if (object->InternalFieldCount() > 0) return v8::Just(true);
    const v8::Local<v8::Value> prototype = PrototypeOf(object);
    if (prototype->IsNull() || prototype == PrototypeOf(plain_)) return v8::Just(false);
    v8::Local<v8::Value> answer;
    if (!Ask("hasNoState", object).ToLocal(&answer)) return v8::Nothing<bool>();
    return v8::Just(answer->BooleanValue(isolate));
  }
#endif

  v8::Maybe<bool> WriteHostObject(v8::Isolate* /*isolate*/, v8::Local<v8::Object> object) override {
    if (object->IsArrayBufferView()) return WriteView(object.As<v8::ArrayBufferView>());
    Refuse("cannot be cloned: it holds an object of class " +
           ToText(isolate_, object->GetConstructorName()) + ", of which nothing would be left");
    return v8::Nothing<bool>();
  }

  v8::Maybe<uint32_t> GetSharedArrayBufferId(v8::Isolate* /*isolate*/,
                                             v8::Local<v8::SharedArrayBuffer> /*buffer*/) override {
    Refuse("cannot be cloned: a SharedArrayBuffer cannot be shared with a file");
    return v8::Nothing<uint32_t>();
  }

  // Throws, since otherwise V8 would write nothing at all here, and the rest of the value in its
  // place.
  v8::Maybe<uint32_t> GetWasmModuleTransferId(v8::Isolate* /*isolate*/,
                                              v8::Local<v8::WasmModuleObject> /*module*/) override {
    Refuse("cannot be cloned: a WebAssembly.Module cannot be written to a file");
    return v8::Nothing<uint32_t>();
  }

  void* ReallocateBufferMemory(void* old, size_t size, size_t* actual) override {
    // V8 asks for twice the size that it has; memory that it does not use costs nothing.
    too_large_ = size > 2 * limit_ + 1024;
    void* buffer = too_large_ ? nullptr : realloc(old, size);
    *actual = buffer == nullptr ? 0 : size;
    return buffer;
  }
  void FreeBufferMemory(void* buffer) override { free(buffer); }

  std::string TooLarge() const {
    return "is too large: more than " + std::to_string(limit_) +
           " bytes cannot be read back as one value; write it in parts";
  }

 private:
  static v8::Local<v8::Value> PrototypeOf(v8::Local<v8::Object> object) {
#if NODE_MAJOR_VERSION >= 24
    return object->GetPrototypeV2();
#else
    return object->GetPrototype();
#endif
  }

  void Refuse(const std::string& why) {
    refusal_ = why;
    isolate_->ThrowException(v8::Exception::Error(ToString(isolate_, why)));
  }

  v8::MaybeLocal<v8::Value> Ask(const char* rule, v8::Local<v8::Value> about) {
    v8::Local<v8::Value> function;
    if (!rules_->Get(context_, ToString(isolate_, rule)).ToLocal(&function)) return {};
    return function.As<v8::Function>()->Call(context_, rules_, 1, &about);
  }

  v8::Maybe<bool> WriteView(v8::Local<v8::ArrayBufferView> view) {
    v8::Local<v8::Value> type;
    if (!Ask("typeOfView", view).ToLocal(&type)) return v8::Nothing<bool>();
    if (type->IsString()) {
      Refuse(ToText(isolate_, type));
      return v8::Nothing<bool>();
    }
    const size_t length = view->ByteLength();
    const uint32_t number = type.As<v8::Uint32>()->Value();
    if (number < kSharedView && length > limit_) {
      Refuse(TooLarge());
      return v8::Nothing<bool>();
    }
    serializer_->WriteUint32(number);
    if (number < kSharedView) {
      const auto* data = static_cast<const uint8_t*>(view->Buffer()->Data());
      serializer_->WriteUint32(static_cast<uint32_t>(length));
      serializer_->WriteRawBytes(data + view->ByteOffset(), length);
      return v8::Just(true);
    }
    serializer_->WriteUint64(view->ByteOffset());
    serializer_->WriteUint64(length);
    v8::Local<v8::Value> buffer;
    if (!Ask("bufferOf", view).ToLocal(&buffer)) return v8::Nothing<bool>();
    return serializer_->WriteValue(context_, buffer);
  }

  v8::Isolate* isolate_;
  v8::Local<v8::Context> context_;
  v8::Local<v8::Object> rules_;
  const size_t limit_;
  v8::Local<v8::Object> plain_;
  v8::ValueSerializer* serializer_ = nullptr;
  std::string refusal_;
  bool too_large_ = false;
};

}  // namespace

// v8::ArrayBuffer::New(isolate, store), which cannot be called with a SharedStore otherwise.
v8::Local<v8::ArrayBuffer> NewArrayBuffer(v8::Isolate* isolate, SharedStore store) __asm__(
    "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE");

namespace {

// Returns an ArrayBuffer that owns the payload.
v8::Local<v8::ArrayBuffer> Adopt(v8::Isolate* isolate, std::pair<uint8_t*, size_t> payload) {
  std::unique_ptr<v8::BackingStore> store = v8::ArrayBuffer::NewBackingStore(
      payload.first, payload.second, [](void* data, size_t, void*) { free(data); }, nullptr);
  return NewArrayBuffer(isolate, SharedStore(store.release(), [](void* owned) {
                          delete static_cast<v8::BackingStore*>(owned);
                        }));
}

}  // namespace

void SerializeValue(const v8::FunctionCallbackInfo<v8::Value>& info) {
  v8::Isolate* isolate = info.GetIsolate();
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  const auto limit = static_cast<size_t>(info[2].As<v8::Number>()->Value());
  CloneRules rules(isolate, info[1].As<v8::Object>(), limit);
  v8::ValueSerializer serializer(isolate, &rules);
  rules.Use(&serializer);
  serializer.SetTreatArrayBufferViewsAsHostObjects(true);
  serializer.WriteHeader();
  {
    v8::TryCatch caught(isolate);
    if (!serializer.WriteValue(context, info[0]).FromMaybe(false)) {
      if (rules.refusal().empty()) {
        caught.ReThrow();
      } else {
        info.GetReturnValue().Set(ToString(isolate, rules.refusal()));
      }
      return;
    }
  }
  const std::pair<uint8_t*, size_t> payload = serializer.Release();
  const v8::Local<v8::ArrayBuffer> buffer = Adopt(isolate, payload);
  if (payload.second > limit) {
    info.GetReturnValue().Set(ToString(isolate, rules.TooLarge()));
    return;
  }
  const PayloadShape shape = ScanPayload(payload.first, payload.second, kCyclicErrors);
  if (shape.problem != nullptr) {
    info.GetReturnValue().Set(ToString(isolate, shape.problem));
    return;
  }
  const v8::Local<v8::Object> result = v8::Object::New(isolate);
  const auto set = [&](const char* key, v8::Local<v8::Value> value) {
    result->CreateDataProperty(context, ToString(isolate, key), value).Check();
  };
  set("payload", buffer);
  set("depth", v8::Integer::NewFromUnsigned(isolate, shape.depth));
  set("hasArrayBuffers", v8::Boolean::New(isolate, shape.has_array_buffers));
  info.GetReturnValue().Set(result);
}

void ScriptOf(const v8::FunctionCallbackInfo<v8::Value>& info) {
  if (!info[0]->IsFunction()) return;
  const v8::Local<v8::Value> name = info[0].As<v8::Function>()->GetScriptOrigin().ResourceName();
  if (!name.IsEmpty()) info.GetReturnValue().Set(name);
}

}  // namespace stillframe
