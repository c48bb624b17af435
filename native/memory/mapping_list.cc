#include "memory/mapping_list.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/arithmetic.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "memory/page.h"

namespace stillframe {
namespace {

Failure ProcUnreadable(const char* file) {
  return Fail(FailureCode::kIo, std::string("cannot read ") + file + " (is /proc mounted?)");
}

struct MappingLine {
  uintptr_t start = 0;
  uintptr_t end = 0;
  char permissions[5] = {};
  const char* offset = nullptr;  // the rest of the line
};

// Reads hexadecimal digits and the character after them. Written by hand for speed: a process may
// have tens of thousands of mappings, and some callers are in a hurry.
bool ParseHex(const char** at, char behind, uintptr_t* out) {
  uintptr_t value = 0;
  const char* digit = *at;
  for (;; digit++) {
    const char c = *digit;
    const int nibble = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (nibble < 0) break;
    value = value << 4 | static_cast<uintptr_t>(nibble);
  }
  if (digit == *at || *digit != behind) return false;
  *at = digit + 1;
  *out = value;
  return true;
}

// Parses a line of maps, or the first line of an entry of smaps: "start-end perms offset ...".
bool ParseMappingLine(const char* line, MappingLine* out) {
  if (!ParseHex(&line, '-', &out->start) || !ParseHex(&line, ' ', &out->end)) return false;
  if (strnlen(line, 5) < 5 || line[4] != ' ') return false;
  memcpy(out->permissions, line, 4);
  out->offset = line + 5;
  return true;
}

// For a line of maps: true if the mapping belongs to no file and is none of the kernel's own. Such
// a mapping may have a name: "[anon:...]".
bool IsAnonymous(const char* offset) {
  const char* device = strchr(offset, ' ');
  if (device == nullptr || strncmp(device, " 00:00 0", 8) != 0) return false;
  const char* name = device + 8 + strspn(device + 8, " ");
  return *name == '\0' || strncmp(name, "[anon", 5) == 0;
}

// For a line of maps: true if the mapping can grow.
bool Grows(const char* line) {
  const std::string_view whole(line);
  return whole.ends_with(" [stack]") || whole.ends_with(" [heap]");
}

// Calls each(line) for every line until it returns false.
template <typename Each>
void ForEachLine(std::string& text, Each each) {
  for (char* line = text.data(); *line != '\0';) {
    char* end = strchr(line, '\n');
    if (end != nullptr) *end = '\0';
    if (!each(line) || end == nullptr) return;
    line = end + 1;
  }
}

}  // namespace

Result<MappingList> MappingList::Read() { return Read(getpid()); }

Result<MappingList> MappingList::Read(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  const UniqueFd maps(sys::Open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
  if (!maps.valid()) return ProcUnreadable(path);
  return ReadFrom(maps.get());
}

Result<MappingList> MappingList::ReadFrom(int fd) {
  std::optional<std::string> maps = ReadSmallFile(fd);
  if (!maps) return ProcUnreadable("the mappings of a process");
  MappingList list;
  ForEachLine(*maps, [&](const char* line) {
    MappingLine mapping;
    if (ParseMappingLine(line, &mapping)) {
      list.entries_.push_back({mapping.start, mapping.end, mapping.permissions[0] == 'r',
                               mapping.permissions[3] == 's', IsAnonymous(mapping.offset),
                               Grows(line)});
    }
    return true;
  });
  return list;
}

Sharing MappingList::SharingOf(const void* start, size_t length) const {
  uintptr_t position = reinterpret_cast<uintptr_t>(start);
  const uintptr_t end = position + length;
  bool shared = false;
  auto entry = std::upper_bound(entries_.begin(), entries_.end(), position,
                                [](uintptr_t at, const Entry& each) { return at < each.end; });
  for (; position < end; ++entry) {
    if (entry == entries_.end() || entry->start > position || !entry->readable)
      return Sharing::kUnmapped;
    shared = shared || entry->shared;
    position = entry->end;
  }
  return shared ? Sharing::kShared : Sharing::kPrivate;
}

template <typename Wanted>
std::vector<AddressRange> MappingList::RangesOf(Wanted wanted) const {
  std::vector<AddressRange> list;
  for (const Entry& entry : entries_) {
    if (!wanted(entry)) continue;
    if (!list.empty() && list.back().end == entry.start) {
      list.back().end = entry.end;
    } else {
      list.push_back({entry.start, entry.end});
    }
  }
  return list;
}

std::vector<AddressRange> MappingList::PrivateMissingIn(const MappingList& other) const {
  return Difference(RangesOf([](const Entry& entry) { return !entry.shared && !entry.grows; }),
                    other.RangesOf([](const Entry&) { return true; }));
}

std::vector<AddressRange> MappingList::PrivateAnonymousAreas() const {
  std::vector<AddressRange> areas;
  bool goes_on = false;
  for (const Entry& entry : entries_) {
    const bool wanted = !entry.shared && !entry.grows && entry.anonymous;
    if (wanted && goes_on) {
      areas.back().end = entry.end;
    } else if (wanted) {
      areas.push_back({entry.start, entry.end});
    }
    goes_on = wanted;
  }
  return areas;
}

std::vector<AddressRange> MappingList::ReadableMissingIn(const MappingList& other) const {
  return Difference(
      RangesOf([](const Entry& entry) { return !entry.shared && !entry.grows && entry.readable; }),
      other.RangesOf([](const Entry&) { return true; }));
}

std::vector<AddressRange> Intersection(const std::vector<AddressRange>& a,
                                       const std::vector<AddressRange>& b) {
  std::vector<AddressRange> both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const uintptr_t start = std::max(a[i].start, b[j].start);
    const uintptr_t end = std::min(a[i].end, b[j].end);
    if (start < end) both.push_back({start, end});
    if (a[i].end < b[j].end) {
      i++;
    } else {
      j++;
    }
  }
  return both;
}

std::vector<AddressRange> Difference(const std::vector<AddressRange>& a,
                                     const std::vector<AddressRange>& b) {
  std::vector<AddressRange> rest;
  size_t j = 0;
  for (const AddressRange& range : a) {
    uintptr_t at = range.start;
    while (j < b.size() && b[j].end <= at) j++;
    for (size_t k = j; k < b.size() && b[k].start < range.end; k++) {
      if (b[k].start > at) rest.push_back({at, b[k].start});
      at = std::max(at, b[k].end);
    }
    if (at < range.end) rest.push_back({at, range.end});
  }
  return rest;
}

Result<std::vector<AdvisedMapping>> ReadAdvice() { return ReadAdvice(getpid()); }

Result<std::vector<AdvisedMapping>> ReadAdvice(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/smaps", pid);
  std::optional<std::string> smaps = ReadSmallFile(path);
  if (!smaps) return ProcUnreadable(path);
  std::vector<AdvisedMapping> mappings;
  ForEachLine(*smaps, [&](const char* line) {
    MappingLine mapping;
    if (ParseMappingLine(line, &mapping)) {
      mappings.push_back({{mapping.start, mapping.end}, false, false, false});
    } else if (!mappings.empty() && strncmp(line, "VmFlags:", 8) == 0) {
      mappings.back().dont_fork = strstr(line, " dc") != nullptr;
      mappings.back().random = strstr(line, " rr") != nullptr;
      mappings.back().wipe_on_fork = strstr(line, " wf") != nullptr;
    }
    return true;
  });
  return mappings;
}

Result<bool> IsDontFork(const void* address, size_t length) {
  Result<std::vector<AdvisedMapping>> mappings = ReadAdvice();
  if (!mappings.ok()) return mappings.failure();
  const auto start = reinterpret_cast<uintptr_t>(address);
  bool found = false;
  for (const AdvisedMapping& each : mappings.value()) {
    if (each.range.end <= start || each.range.start >= start + length) continue;
    if (!each.dont_fork) return false;
    found = true;
  }
  return found;
}

CarriedOver HowCarriedOver(const std::vector<AdvisedMapping>& mappings, const void* start,
                           size_t length, bool made_forkable) {
  uintptr_t position = reinterpret_cast<uintptr_t>(start);
  const uintptr_t end = position + length;
  auto entry = std::upper_bound(
      mappings.begin(), mappings.end(), position,
      [](uintptr_t at, const AdvisedMapping& each) { return at < each.range.end; });
  for (; position < end; ++entry) {
    if (entry == mappings.end() || entry->range.start > position) return CarriedOver::kMissing;
    if (entry->dont_fork && !made_forkable) return CarriedOver::kMissing;
    if (entry->wipe_on_fork) return CarriedOver::kWiped;
    position = entry->range.end;
  }
  return CarriedOver::kWhole;
}

Result<Residency> ResidencyOf(const void* start, size_t length, size_t unit) {
  const size_t page = SystemPageSize();
  const auto begin = reinterpret_cast<uintptr_t>(start);
  const uintptr_t first = RoundDown(begin, page);
  const uintptr_t end = RoundUp(begin + length, page);
  constexpr size_t kWindowPages = 65536;
  std::vector<unsigned char> window(kWindowPages);
  Residency residency;
  uint64_t next_unit = 0;  // the first unit that has not been counted
  for (uintptr_t at = first; at < end;) {
    const size_t bytes = std::min<size_t>(end - at, kWindowPages * page);
    const int error = sys::Mincore(reinterpret_cast<void*>(at), bytes, window.data());
    if (error < 0) return SystemFailure("mincore", -error, "cannot tell which pages are resident");
    for (size_t i = 0; i < bytes / page; i++) {
      if ((window[i] & 1) == 0) continue;
      residency.bytes += page;
      // If the start is not page-aligned, a page may overlap two units.
      const uintptr_t page_at = at + i * page;
      const uint64_t from = page_at > begin ? page_at - begin : 0;
      const uint64_t last = std::min<uint64_t>(page_at + page - begin, length) - 1;
      for (uint64_t each = std::max<uint64_t>(from / unit, next_unit); each <= last / unit;
           each++) {
        residency.bytes_of_units += std::min<uint64_t>(unit, length - each * unit);
        next_unit = each + 1;
      }
    }
    at += bytes;
  }
  residency.bytes = std::min<uint64_t>(residency.bytes, length);
  return residency;
}

}  // namespace stillframe
