#include "heap/masked_text.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "heap/pair_name.h"

namespace stillframe {
namespace {

// Longer than identifiers and most paths, and shorter than a key or a certificate.
constexpr size_t kLongestName = 256;

constexpr std::string_view kSymbol = "<symbol ";
// The symbols of the language itself, which are the same in every service.
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

// The key and the value are names of nodes, and may be any text.
void AppendPair(std::string_view name, std::string* out) {
  const std::optional<PairName> pair = PairName::Parse(name);
  if (!pair) {
    AppendMasked(name, out);
    return;
  }
  size_t copied = 0;
  for (const std::string_view node : {pair->key, pair->value}) {
    const auto begin = static_cast<size_t>(node.data() - name.data());
    *out += name.substr(copied, begin - copied);
    AppendMasked(node, out);
    copied = begin + node.size();
  }
  *out += name.substr(copied);
}

// Only this form distinguishes symbols from names. A property whose name has this form is masked as
// well.
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

// Appends a URL or path without query, fragment, user and password; of a data: URL only the scheme.
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
    if ((byte & 0xC0) == 0x80) continue;  // continues a character
    *out += byte >= 0xF0 ? "**" : "*";
  }
}

void AppendName(std::string_view escaped, std::string* out) {
  const bool has_line_break =
      escaped.find("\\n") != escaped.npos || escaped.find("\\r") != escaped.npos;
  if (PairName::IsIn(escaped)) {
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
