#include "base/result.h"

#include <cerrno>

namespace stillframe {

const char* FailureName(FailureCode code) {
  switch (code) {
    case FailureCode::kIo:
      return "IO";
    case FailureCode::kNoSpace:
      return "NO_SPACE";
    case FailureCode::kExists:
      return "EXISTS";
    case FailureCode::kBusy:
      return "BUSY";
    case FailureCode::kNotAtRest:
      return "NOT_AT_REST";
    case FailureCode::kClosed:
      return "CLOSED";
    case FailureCode::kEngineUnavailable:
      return "ENGINE_UNAVAILABLE";
    case FailureCode::kMemoryLimit:
      return "MEMORY_LIMIT";
    case FailureCode::kStalled:
      return "STALLED";
    case FailureCode::kChildDied:
      return "CHILD_DIED";
    case FailureCode::kChildOom:
      return "CHILD_OOM";
    case FailureCode::kCallback:
      return "CALLBACK";
    case FailureCode::kFormat:
      return "FORMAT";
    case FailureCode::kVersion:
      return "VERSION";
    case FailureCode::kCorrupt:
      return "CORRUPT";
    case FailureCode::kParent:
      return "PARENT";
    case FailureCode::kAborted:
      return "ABORTED";
    case FailureCode::kNotMappable:
      return "NOT_MAPPABLE";
    case FailureCode::kNoSection:
      return "NO_SECTION";
    case FailureCode::kOutOfRange:
      return "OUT_OF_RANGE";
  }
  return "IO";
}

Failure Fail(FailureCode code, std::string message) {
  Failure failure;
  failure.code = code;
  failure.message = std::move(message);
  return failure;
}

Failure SystemFailure(const char* syscall, int error_number, std::string doing) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  Failure failure = Fail(full ? FailureCode::kNoSpace : FailureCode::kIo, std::move(doing));
  failure.syscall = syscall;
  failure.error_number = error_number;
  return failure;
}

}  // namespace stillframe
