// Failures of reading an image file, apart from those of system calls.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"

namespace stillframe {

// The file is not as a writer wrote it. `section` is empty outside of all sections.
inline Failure Corrupt(uint64_t offset, std::string section, std::string reason) {
  Failure failure = Fail(FailureCode::kCorrupt, std::move(reason));
  failure.offset = static_cast<int64_t>(offset);
  failure.section = std::move(section);
  return failure;
}

inline Failure ReadingAborted() { return Fail(FailureCode::kAborted, "the reading was aborted"); }

}  // namespace stillframe
