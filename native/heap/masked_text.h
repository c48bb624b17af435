// Masks the contents of texts in a heap snapshot. All texts are JSON strings in their escaped form,
// without the quotes.
#pragma once

#include <string>
#include <string_view>

namespace stillframe {

// Appends as many '*' as the text has UTF-16 code units.
void AppendMasked(std::string_view escaped, std::string* out);

// Appends the name of a property, a class, a function, a script and the like, without the contents
// that V8, Node and services put into names: see "What redact leaves" in docs/HEAP.md.
void AppendName(std::string_view escaped, std::string* out);

}  // namespace stillframe
