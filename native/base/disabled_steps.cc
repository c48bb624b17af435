#include "base/disabled_steps.h"

#include <cstdlib>
#include <string>

namespace stillframe {

bool StepDisabled(const char* name) {
  static const std::string list = [] {
    // Returns null in a process that has more privileges than the user who started it.
    const char* value = secure_getenv("STILLFRAME_DISABLE");
    return value != nullptr ? "," + std::string(value) + "," : std::string();
  }();
  return !list.empty() && list.find("," + std::string(name) + ",") != std::string::npos;
}

}  // namespace stillframe
