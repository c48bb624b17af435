// Checks whether a name can be taken from the file that has it. Creating a file next to one that
// cannot be replaced succeeds, and the failure must not show only when everything is written.
#pragma once

#include <string>

#include "base/result.h"

namespace stillframe {

// For a regular file in a writable directory. Succeeds if it cannot tell.
Status CheckReplaceable(int directory_fd, const std::string& name);

// True after chattr +a: names can be created in the directory, but neither changed nor removed.
bool IsAppendOnly(int directory_fd);

}  // namespace stillframe
