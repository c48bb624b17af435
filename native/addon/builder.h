// Builds the objects of lib/addon/addon.ts and calls back into JavaScript. Like reader.h it uses
// the C interface, since a Worker may be terminated in the middle. After a failure, a property is
// missing or a call is not made. The statuses are ignored because a call only fails when nothing is
// left that could look at its result.
#pragma once

#include <napi.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "addon/reader.h"

namespace stillframe {

class ObjectBuilder {
 public:
  explicit ObjectBuilder(napi_env env) : env_(env) { napi_create_object(env, &object_); }

  ObjectBuilder& Value(const char* key, napi_value value) {
    if (value != nullptr) napi_set_named_property(env_, object_, key, value);
    return *this;
  }
  ObjectBuilder& Number(const char* key, double number) {
    napi_value value = nullptr;
    napi_create_double(env_, number, &value);
    return Value(key, value);
  }
  // Exact up to 2^53.
  ObjectBuilder& Unsigned(const char* key, uint64_t number) {
    return Number(key, static_cast<double>(number));
  }
  ObjectBuilder& Bool(const char* key, bool flag) {
    napi_value value = nullptr;
    napi_get_boolean(env_, flag, &value);
    return Value(key, value);
  }
  // Sets an absent value to undefined: readers would look up a missing member in Object.prototype.
  ObjectBuilder& Undefined(const char* key) {
    napi_value value = nullptr;
    napi_get_undefined(env_, &value);
    return Value(key, value);
  }
  ObjectBuilder& String(const char* key, const std::string& text) {
    napi_value value = nullptr;
    napi_create_string_utf8(env_, text.data(), text.size(), &value);
    return Value(key, value);
  }

  napi_value object() const { return object_; }

 private:
  napi_env env_;
  napi_value object_ = nullptr;
};

// An array of make(item) for each item.
template <typename Items, typename Make>
napi_value ArrayOf(napi_env env, Items& items, Make make) {
  napi_value array = nullptr;
  napi_create_array_with_length(env, items.size(), &array);
  uint32_t index = 0;
  for (auto& item : items) {
    const napi_value element = make(item);
    if (array != nullptr && element != nullptr) napi_set_element(env, array, index, element);
    index++;
  }
  return array;
}

// Calls a JS function without a receiver. An exception that it throws stays pending. The call is
// not made if `function` or an argument is null. Returns the function's result, or null if it was
// not called or has thrown.
inline napi_value CallFunction(napi_env env, napi_value function,
                               std::initializer_list<napi_value> arguments) {
  if (function == nullptr) return nullptr;
  for (const napi_value argument : arguments) {
    if (argument == nullptr) return nullptr;
  }
  napi_value receiver = nullptr;
  napi_get_undefined(env, &receiver);
  napi_value returned = nullptr;
  napi_call_function(env, receiver, function, arguments.size(), arguments.begin(), &returned);
  return returned;
}

// A JS function that calls a method of `object` and keeps `object` alive; null if it cannot be
// created. The method returns void or a napi_value.
template <typename Object, auto kMethod>
napi_value Closure(napi_env env, std::shared_ptr<Object> object) {
  auto* kept = new std::shared_ptr<Object>(std::move(object));
  const auto call = [](napi_env on, napi_callback_info info) -> napi_value {
    void* data = nullptr;
    if (napi_get_cb_info(on, info, nullptr, nullptr, nullptr, &data) != napi_ok) return nullptr;
    Object* const self = static_cast<std::shared_ptr<Object>*>(data)->get();
    if constexpr (std::is_void_v<decltype((self->*kMethod)(on, info))>) {
      (self->*kMethod)(on, info);
      return nullptr;
    } else {
      return (self->*kMethod)(on, info);
    }
  };
  const auto release = [](napi_env, void* data, void*) {
    delete static_cast<std::shared_ptr<Object>*>(data);
  };
  napi_value function = nullptr;
  if (napi_create_function(env, nullptr, 0, call, kept, &function) != napi_ok ||
      napi_add_finalizer(env, function, kept, release, nullptr, nullptr) != napi_ok) {
    delete kept;
    return nullptr;
  }
  return function;
}

// Clears the pending exception and returns its message.
inline std::string TakeExceptionMessage(napi_env env) {
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env, &exception) != napi_ok) return {};
  napi_value text = nullptr;
  if (napi_get_named_property(env, exception, "message", &text) != napi_ok) {
    if (napi_coerce_to_string(env, exception, &text) != napi_ok) return {};
  }
  Reader reader(env, exception);
  return reader.Text(text);
}

}  // namespace stillframe
