// Whether a name can be taken from the file that has it. A file may be made beside one that cannot be replaced, and
// that should not show only when all is written.
#pragma once

#include <string>

#include "base/result.h"

namespace stillframe {

// For a regular file in a directory that may be written to. What cannot be told passes.
Status CheckReplaceable(int directory_fd, const std::string& name);

// chattr +a: names may be made in the directory, and neither be changed nor removed.
bool IsAppendOnly(int directory_fd);

}  // namespace stillframe
