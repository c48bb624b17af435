// The names of files that are being written: .stillframe-<32 hex digits>.tmp
#pragma once

#include <string>

#include "base/result.h"

namespace stillframe {

// A name that no other file has.
Result<std::string> RandomTemporaryName();

bool IsTemporaryName(const char* name);

}  // namespace stillframe
