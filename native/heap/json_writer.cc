#include "heap/json_writer.h"

#include <cinttypes>
#include <cstdio>

namespace stillframe {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

void AppendCodePoint(uint32_t point, std::string* to) {
  const auto tail = [&](int shift) {
    to->push_back(static_cast<char>(0x80 | ((point >> shift) & 0x3F)));
  };
  if (point < 0x80) {
    to->push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    to->push_back(static_cast<char>(0xC0 | (point >> 6)));
    tail(0);
  } else if (point < 0x10000) {
    to->push_back(static_cast<char>(0xE0 | (point >> 12)));
    tail(6), tail(0);
  } else {
    to->push_back(static_cast<char>(0xF0 | (point >> 18)));
    tail(12), tail(6), tail(0);
  }
}

}  // namespace

void AppendUtf8(const uint8_t* latin1, size_t length, std::string* to) {
  for (size_t i = 0; i < length; i++) AppendCodePoint(latin1[i], to);
}

void AppendUtf8(const uint16_t* utf16, size_t length, std::string* to) {
  for (size_t i = 0; i < length; i++) {
    const uint32_t unit = utf16[i];
    if (unit < 0xD800 || unit > 0xDFFF) {
      AppendCodePoint(unit, to);
      continue;
    }
    const uint32_t next = i + 1 < length ? utf16[i + 1] : 0;
    if (unit < 0xDC00 && next >= 0xDC00 && next <= 0xDFFF) {
      AppendCodePoint(0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00), to);
      i++;
    } else {
      AppendCodePoint(kReplacement, to);
    }
  }
}

void JsonWriter::Key(std::string_view key) {
  Separate();
  Quote(key);
  sink_(":");
  needs_comma_ = false;
}

void JsonWriter::String(std::string_view utf8) {
  Separate();
  Quote(utf8);
}

void JsonWriter::Unsigned(uint64_t value) {
  Separate();
  char digits[24];
  const int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
  sink_({digits, static_cast<size_t>(length)});
}

void JsonWriter::Bool(bool value) {
  Separate();
  sink_(value ? "true" : "false");
}

void JsonWriter::Open(char bracket) {
  Separate();
  sink_({&bracket, 1});
  needs_comma_ = false;
}

void JsonWriter::Close(char bracket) {
  sink_({&bracket, 1});
  needs_comma_ = true;
}

void JsonWriter::Separate() {
  // With a line for each element the file is long, but a single line is too long for most editors.
  if (needs_comma_) sink_(",\n");
  needs_comma_ = true;
}

void JsonWriter::Quote(std::string_view utf8) {
  sink_("\"");
  size_t plain = 0;  // nothing from here on needs to be escaped
  for (size_t i = 0; i < utf8.size(); i++) {
    const auto byte = static_cast<unsigned char>(utf8[i]);
    // U+0080 to U+009F, which terminals obey, begin with the byte 0xC2 in UTF-8, as does a part of
    // Latin-1.
    const bool control =
        byte < 0x20 || byte == 0x7F ||
        (byte == 0xC2 && i + 1 < utf8.size() && static_cast<unsigned char>(utf8[i + 1]) < 0xA0);
    if (!control && byte != '"' && byte != '\\') continue;
    sink_(utf8.substr(plain, i - plain));
    char escaped[8];
    if (control) {
      const unsigned point = byte == 0xC2 ? static_cast<unsigned char>(utf8[++i]) : byte;
      snprintf(escaped, sizeof escaped, "\\u%04x", point);
    } else {
      snprintf(escaped, sizeof escaped, "\\%c", byte);
    }
    sink_(escaped);
    plain = i + 1;
  }
  sink_(utf8.substr(plain));
  sink_("\"");
}

}  // namespace stillframe
