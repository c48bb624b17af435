#include "heap/masked_text.h"

#include <algorithm>
#include <cctype>

namespace stillframe {
namespace {

// Longer than identifiers and most paths are, and shorter than a key or a certificate.
constexpr size_t kLongestName = 256;

constexpr std::string_view kSymbol = "<symbol ";
// The symbols of the language itself, which are the same in each service.
constexpr std::string_view kWellKnown[] = {
    "Symbol.asyncDispose",
    "Symbol.asyncIterator",
    "Symbol.dispose",
    "Symbol.hasInstance",
    "Symbol.isConcatSpreadable",
    "Symbol.iterator",
    "Symbol.match",
    "Symbol.matchAll",
    "Symbol.replace",
    "Symbol.search",
    "Symbol.species",
    "Symbol.split",
    "Symbol.toPrimitive",
    "Symbol.toStringTag",
    "Symbol.unscopables",
};

// "12 / part of key (KEY @34) -> value (VALUE @56) pair in WeakMap (table @78)": KEY and VALUE are
// the names of nodes of any type.
constexpr std::string_view kKey = "part of key (";
constexpr std::string_view kValue = ") -> value (";
constexpr std::string_view kTable = ") pair in WeakMap (table @";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsNumber(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsDigit);
}

// Appends "NAME @12" without NAME.
void AppendMaskedNode(std::string_view node, std::string* out) {
  size_t id = node.size();
  while (id > 0 && IsDigit(node[id - 1])) id--;
  const bool has_id = id < node.size() && id >= 2 && node.substr(id - 2, 2) == " @";
  const size_t name = has_id ? id - 2 : node.size();
  AppendMasked(node.substr(0, name), out);
  *out += node.substr(name);
}

// `name` has kKey. What is not of the one form that V8 gives to it is masked: KEY and VALUE may be
// any text.
void AppendPair(std::string_view name, std::string* out) {
  const size_t key = name.find(kKey) + kKey.size();
  const size_t value = name.find(kValue, key);
  const size_t table = name.rfind(kTable);
  std::string_view number = name.substr(0, key - kKey.size());
  bool is_pair = number.ends_with(" / ") && value != name.npos &&
                 name.find(kValue, value + 1) == name.npos && table != name.npos && table > value &&
                 name.ends_with(')');
  if (is_pair) {
    number.remove_suffix(3);
    std::string_view id = name.substr(table + kTable.size());
    id.remove_suffix(1);
    is_pair = IsNumber(number) && IsNumber(id);
  }
  if (!is_pair) {
    AppendMasked(name, out);
    return;
  }
  *out += name.substr(0, key);
  AppendMaskedNode(name.substr(key, value - key), out);
  *out += kValue;
  AppendMaskedNode(name.substr(value + kValue.size(), table - value - kValue.size()), out);
  *out += name.substr(table);
}

// Symbols are told from names by this form alone. A property that has a name of the form is masked
// as well.
void AppendSymbol(std::string_view name, std::string* out) {
  std::string_view description = name.substr(kSymbol.size());
  const bool is_closed = description.ends_with('>');
  if (is_closed) description.remove_suffix(1);
  const bool is_known = is_closed && std::find(std::begin(kWellKnown), std::end(kWellKnown),
                                               description) != std::end(kWellKnown);
  *out += kSymbol;
  if (is_known) {
    *out += description;
  } else {
    AppendMasked(description, out);
  }
  if (is_closed) *out += '>';
}

// The length of "scheme:", or 0.
size_t SchemeOf(std::string_view name) {
  size_t length = 0;
  while (length < name.size() && (isalnum(static_cast<unsigned char>(name[length])) != 0 ||
                                  std::string_view("+-.").find(name[length]) != name.npos)) {
    length++;
  }
  return length >= 2 && length < name.size() && name[length] == ':' ? length + 1 : 0;
}

// A URL or path without query, fragment, user and password; of a data: URL only the scheme.
void AppendPlace(std::string_view name, std::string* out) {
  size_t shown = SchemeOf(name);
  *out += name.substr(0, shown);
  if (name.starts_with("data:")) {
    AppendMasked(name.substr(shown), out);
    return;
  }
  const size_t end = std::min(name.find_first_of("?#", shown), name.size());
  if (name.substr(shown).starts_with("//")) {
    const size_t host = shown + 2;
    const size_t path = std::min(name.find('/', host), end);
    const size_t at = name.substr(0, path).rfind('@');
    if (at != name.npos && at > host) {
      *out += "//";
      AppendMasked(name.substr(host, at - host), out);
      shown = at;
    }
  }
  *out += name.substr(shown, end - shown);
  AppendMasked(name.substr(end), out);
}

}  // namespace

void AppendMasked(std::string_view escaped, std::string* out) {
  for (size_t i = 0; i < escaped.size(); i++) {
    const auto byte = static_cast<unsigned char>(escaped[i]);
    if (byte == '\\') i += i + 1 < escaped.size() && escaped[i + 1] == 'u' ? 5 : 1;
    if ((byte & 0xC0) == 0x80) continue;  // goes on a character
    *out += byte >= 0xF0 ? "**" : "*";
  }
}

void AppendName(std::string_view escaped, std::string* out) {
  const bool has_line_break =
      escaped.find("\\n") != escaped.npos || escaped.find("\\r") != escaped.npos;
  if (escaped.find(kKey) != escaped.npos) {
    AppendPair(escaped, out);
  } else if (escaped.starts_with(kSymbol)) {
    AppendSymbol(escaped, out);
  } else if (has_line_break || escaped.size() > kLongestName) {
    AppendMasked(escaped, out);
  } else if (escaped.starts_with('/') || escaped.starts_with('.') || SchemeOf(escaped) > 0) {
    AppendPlace(escaped, out);
  } else {
    *out += escaped;
  }
}

}  // namespace stillframe
