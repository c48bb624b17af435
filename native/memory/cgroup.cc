#include "memory/cgroup.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/small_file.h"

namespace stillframe {
namespace {

// Calls each(line) for every line.
template <typename Each>
void ForEachLine(const std::string& text, Each each) {
  for (size_t start = 0; start < text.size();) {
    size_t end = text.find('\n', start);
    if (end == std::string::npos) end = text.size();
    each(text.substr(start, end - start));
    start = end + 1;
  }
}

// The mount point of the first mount in mountinfo whose filesystem and super options match.
std::string MountPoint(const std::string& mountinfo, const char* filesystem, const char* option) {
  std::string found;
  ForEachLine(mountinfo, [&](const std::string& line) {
    const size_t separator = line.find(" - ");
    if (!found.empty() || separator == std::string::npos) return;
    const std::string behind = line.substr(separator + 3) + ",";
    if (behind.compare(0, strlen(filesystem) + 1, std::string(filesystem) + " ") != 0) return;
    if (option[0] != '\0' && behind.find(std::string(",") + option + ",") == std::string::npos)
      return;
    size_t field = 0;
    for (int i = 0; i < 4; i++) field = line.find(' ', field) + 1;
    found = line.substr(field, line.find(' ', field) - field);
  });
  return found;
}

std::optional<uint64_t> ReadNumber(const std::string& path) {
  const auto text = ReadSmallFile(path.c_str());
  if (!text) return std::nullopt;
  char* end = nullptr;
  const uint64_t number = strtoull(text->c_str(), &end, 10);
  return end != text->c_str() ? std::optional(number) : std::nullopt;  // "max" is not a number
}

uint64_t InactiveFile(const std::string& directory, const char* key) {
  const auto stat = ReadSmallFile((directory + "/memory.stat").c_str());
  return stat ? NumberAfter(*stat, key).value_or(0) : 0;
}

void Tighten(MemoryCgroup* group, uint64_t limit, uint64_t usage, uint64_t reclaimable) {
  const uint64_t used = usage - std::min(usage, reclaimable);
  const uint64_t headroom = limit - std::min(limit, used);
  if (!group->limit || limit < *group->limit) group->limit = limit;
  if (!group->headroom || headroom < *group->headroom) group->headroom = headroom;
}

}  // namespace

MemoryCgroup ReadMemoryCgroup() {
  MemoryCgroup group;
  const auto membership = ReadSmallFile("/proc/self/cgroup");
  const auto mountinfo = ReadSmallFile("/proc/self/mountinfo");
  if (!membership || !mountinfo) return group;
  std::string path_v1;
  std::string path_v2;
  ForEachLine(*membership, [&](const std::string& line) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) return;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers == ",,") path_v2 = line.substr(second + 1);
    if (controllers.find(",memory,") != std::string::npos) path_v1 = line.substr(second + 1);
  });

  // In version 2 each ancestor may have a limit of its own.
  const std::string root_v2 = MountPoint(*mountinfo, "cgroup2", "");
  if (!root_v2.empty() && !path_v2.empty()) {
    group.directory = root_v2 + path_v2;
    for (std::string path = path_v2;; path.resize(path.rfind('/'))) {
      const std::string directory = root_v2 + path;
      const auto limit = ReadNumber(directory + "/memory.max");
      const auto usage = ReadNumber(directory + "/memory.current");
      if (limit && usage)
        Tighten(&group, *limit, *usage, InactiveFile(directory, "inactive_file "));
      if (ReadNumber(directory + "/memory.oom.group").value_or(0) == 1) group.kills_group = true;
      if (path.rfind('/') == std::string::npos || path.empty()) break;
    }
  }
  // In version 1 the group itself reports the effective limit.
  const std::string root_v1 = MountPoint(*mountinfo, "cgroup", "memory");
  if (!root_v1.empty() && !path_v1.empty()) {
    const std::string directory = root_v1 + path_v1;
    const auto stat = ReadSmallFile((directory + "/memory.stat").c_str());
    const auto limit = stat ? NumberAfter(*stat, "hierarchical_memory_limit ") : std::nullopt;
    const auto usage = ReadNumber(directory + "/memory.usage_in_bytes");
    constexpr uint64_t kNoLimit = uint64_t{1} << 60;
    if (limit && *limit < kNoLimit && usage) {
      Tighten(&group, *limit, *usage, InactiveFile(directory, "total_inactive_file "));
    }
  }
  return group;
}

}  // namespace stillframe
