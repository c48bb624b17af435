// Reads plan objects of lib/addon/addon.ts and checks every status.
//
// A Worker can be terminated while it is inside one of our functions; from then on every call into
// JavaScript fails. node-addon-api would try to turn that into an error, fail again, and end the
// whole process. So plans are read through the C interface. After the first failure a reader stays
// failed and returns empty values, and its caller starts nothing.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace stillframe {

class Reader {
 public:
  Reader(napi_env env, napi_value object) : env_(env), object_(object) {}

  bool ok() const { return ok_; }
  napi_env env() const { return env_; }

  napi_value Get(const char* key) {
    napi_value value = nullptr;
    Check(ok_ ? napi_get_named_property(env_, object_, key, &value) : napi_generic_failure);
    return value;
  }
  napi_value At(uint32_t index) {
    napi_value value = nullptr;
    Check(ok_ ? napi_get_element(env_, object_, index, &value) : napi_generic_failure);
    return value;
  }
  uint32_t Length() {
    uint32_t length = 0;
    Check(ok_ ? napi_get_array_length(env_, object_, &length) : napi_generic_failure);
    return ok_ ? length : 0;
  }
  napi_valuetype TypeOf(napi_value value) {
    napi_valuetype type = napi_undefined;
    Check(ok_ ? napi_typeof(env_, value, &type) : napi_generic_failure);
    return type;
  }
  double Number(const char* key) {
    double number = 0;
    napi_value value = Get(key);
    Check(ok_ ? napi_get_value_double(env_, value, &number) : napi_generic_failure);
    return number;
  }
  uint64_t Unsigned(const char* key) { return static_cast<uint64_t>(Number(key)); }
  bool Bool(const char* key) {
    bool flag = false;
    napi_value value = Get(key);
    Check(ok_ ? napi_get_value_bool(env_, value, &flag) : napi_generic_failure);
    return flag;
  }
  std::string String(const char* key) { return Text(Get(key)); }
  std::string Text(napi_value value) {
    size_t length = 0;
    Check(ok_ ? napi_get_value_string_utf8(env_, value, nullptr, 0, &length)
              : napi_generic_failure);
    std::string text(ok_ ? length + 1 : 1, '\0');
    Check(ok_ ? napi_get_value_string_utf8(env_, value, text.data(), text.size(), &length)
              : napi_generic_failure);
    text.resize(ok_ ? length : 0);
    return text;
  }
  // The address of the first byte of a typed array.
  std::byte* Address(napi_value typed_array) {
    void* data = nullptr;
    Check(
        ok_ ? napi_get_typedarray_info(env_, typed_array, nullptr, nullptr, &data, nullptr, nullptr)
            : napi_generic_failure);
    return static_cast<std::byte*>(data);
  }

  // Applies `read` to a reader of the object that is the member `key`, and returns the result.
  template <typename Read>
  auto Group(const char* key, Read read) {
    Reader inner(env_, Get(key));
    inner.Include(*this);
    auto group = read(&inner);
    Include(inner);
    return group;
  }
  // Marks this reader as failed if `inner` has failed.
  void Include(const Reader& inner) { ok_ = ok_ && inner.ok_; }
  void Check(napi_status status) { ok_ = ok_ && status == napi_ok; }

 private:
  napi_env env_;
  napi_value object_;
  bool ok_ = true;
};

}  // namespace stillframe
