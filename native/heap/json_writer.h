// Writes JSON in a forked copy: piece by piece to a sink, without building a tree in memory.
//
//   JsonWriter json(sink);
//   json.BeginObject();
//   json.Key("name"), json.String("x");
//   json.EndObject();
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace stillframe {

class JsonWriter {
 public:
  using Sink = std::function<void(std::string_view)>;

  explicit JsonWriter(Sink sink) : sink_(std::move(sink)) {}

  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }
  void Key(std::string_view key);
  // The string is UTF-8. Characters that have a special meaning in JSON or to a terminal are
  // escaped.
  void String(std::string_view utf8);
  void Unsigned(uint64_t value);
  void Bool(bool value);

  // A key and its value in one call.
  void Member(std::string_view key, std::string_view value) { Key(key), String(value); }
  void Member(std::string_view key, uint64_t value) { Key(key), Unsigned(value); }

 private:
  void Open(char bracket);
  void Close(char bracket);
  void Separate();
  void Quote(std::string_view utf8);

  Sink sink_;
  bool needs_comma_ = false;
};

// Appends characters of V8's strings as UTF-8. An unpaired surrogate becomes U+FFFD, since JSON in
// UTF-8 cannot represent it.
void AppendUtf8(const uint8_t* latin1, size_t length, std::string* to);
void AppendUtf8(const uint16_t* utf16, size_t length, std::string* to);

}  // namespace stillframe
