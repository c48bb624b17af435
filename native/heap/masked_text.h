// Texts of a heap snapshot without what they say. They are JSON strings as they are escaped, without
// their quotes.
#pragma once

#include <string>
#include <string_view>

namespace stillframe {

// Appends as many '*' as the text has UTF-16 code units.
void AppendMasked(std::string_view escaped, std::string* out);

// Appends a name of a property, a class, a function, a script and the like, without the content that
// V8, Node and services put into names: see "What redact leaves" in docs/HEAP.md.
void AppendName(std::string_view escaped, std::string* out);

}  // namespace stillframe
