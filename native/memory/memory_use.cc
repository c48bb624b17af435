#include "memory/memory_use.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/small_file.h"
#include "memory/cgroup.h"
#include "memory/statm.h"

namespace stillframe {
namespace {

std::optional<double> PressureIn(const std::string& path) {
  const auto text = ReadSmallFile(path.c_str());
  double percent = 0;
  if (!text || sscanf(text->c_str(), "some avg10=%lf", &percent) != 1) return std::nullopt;
  return percent;
}

}  // namespace

std::optional<uint64_t> ResidentBytes() {
  const auto text = ReadSmallFile("/proc/self/statm");
  const auto statm = text ? ParseStatm(text->data(), text->size()) : std::nullopt;
  return statm ? std::optional(statm->resident) : std::nullopt;
}

std::optional<double> CgroupPercent() {
  const MemoryCgroup group = ReadMemoryCgroup();
  if (!group.limit || !group.headroom || *group.limit == 0) return std::nullopt;
  const uint64_t used = *group.limit - std::min(*group.limit, *group.headroom);
  return 100.0 * static_cast<double>(used) / static_cast<double>(*group.limit);
}

std::optional<double> MemoryPressure() {
  const std::string directory = ReadMemoryCgroup().directory;
  std::optional<double> pressure;
  if (!directory.empty()) pressure = PressureIn(directory + "/memory.pressure");
  return pressure ? pressure : PressureIn("/proc/pressure/memory");
}

}  // namespace stillframe
