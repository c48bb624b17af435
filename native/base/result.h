// Result<T>: a value, or the reason why there is none.
//
// Nothing below native/addon/ throws. A Failure names the operation in words, the system call and
// its errno. native/addon/failure.cc is the only place that turns it into a JS error.
#pragma once

#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace stillframe {

// In JavaScript each code is ERR_STILLFRAME_<NAME>; see FailureName().
enum class FailureCode : uint8_t {
  kIo,
  kNoSpace,
  kExists,
  kBusy,
  kNotAtRest,  // V8's threads are busy; retried, finally reported as BUSY
  kClosed,
  kEngineUnavailable,
  kMemoryLimit,
  kStalled,
  kChildDied,
  kChildOom,
  kCallback,
  kFormat,
  kVersion,
  kCorrupt,
  kParent,
  kAborted,
  kNoSection,
  kNotMappable,
  kOutOfRange,
};

struct Failure {
  FailureCode code = FailureCode::kIo;
  std::string message;       // what was being done and what went wrong; no path
  const char* syscall = "";  // a string literal
  int error_number = 0;      // positive errno; 0 if no system call failed
  int64_t offset = -1;       // kCorrupt: position in the file
  std::string section;       // kCorrupt: the section; empty outside of all sections
};

const char* FailureName(FailureCode code);

Failure Fail(FailureCode code, std::string message);
// A failed system call. ENOSPC, EDQUOT and EFBIG become kNoSpace, all other errors kIo.
Failure SystemFailure(const char* syscall, int error_number, std::string doing);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}            // NOLINT: implicit on purpose
  Result(Failure failure) : state_(std::move(failure)) {}  // NOLINT: implicit on purpose

  bool ok() const { return std::holds_alternative<T>(state_); }
  T& value() {
    assert(ok());
    return *std::get_if<T>(&state_);
  }
  const T& value() const {
    assert(ok());
    return *std::get_if<T>(&state_);
  }
  Failure& failure() {
    assert(!ok());
    return *std::get_if<Failure>(&state_);
  }

 private:
  std::variant<T, Failure> state_;
};

struct Success {};
using Status = Result<Success>;

}  // namespace stillframe
