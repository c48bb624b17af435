// What the kernel says of the process's own mappings.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace stillframe {

enum class Sharing : uint8_t { kPrivate, kShared, kUnmapped };

// A reading of /proc/self/maps, which visits no page tables.
struct AddressRange {
  uintptr_t start;
  uintptr_t end;
};
// What is in both; each list ascends and does not overlap itself.
std::vector<AddressRange> Intersection(const std::vector<AddressRange>& a,
                                       const std::vector<AddressRange>& b);
// What is in a and not in b.
std::vector<AddressRange> Difference(const std::vector<AddressRange>& a,
                                     const std::vector<AddressRange>& b);

class MappingList {
 public:
  static Result<MappingList> Read();
  // Of another process.
  static Result<MappingList> Read(pid_t pid);
  // From an open maps file; it may be that of a process which this one might not open.
  static Result<MappingList> ReadFrom(int fd);
  // kShared when any byte of the range lies in a MAP_SHARED mapping (fork does not freeze those),
  // kUnmapped when the range has a gap or cannot be read.
  Sharing SharingOf(const void* start, size_t length) const;
  // The private mappings of this list, or parts of them, that `other` does not have. In ascending order; neighbours are
  // one range. Without what grows: in each process it does so by itself.
  std::vector<AddressRange> PrivateMissingIn(const MappingList& other) const;
  // Those of them that can be read.
  std::vector<AddressRange> ReadableMissingIn(const MappingList& other) const;

 private:
  struct Entry {
    uintptr_t start;
    uintptr_t end;
    bool readable;
    bool shared;
    bool grows;  // the stack of the main thread, the heap of brk()
  };
  template <typename Wanted>
  std::vector<AddressRange> RangesOf(Wanted wanted) const;

  std::vector<Entry> entries_;  // in ascending order, as the kernel lists them
};

// What has been advised (madvise) about one mapping.
struct AdvisedMapping {
  AddressRange range;
  bool dont_fork;
  bool random;
  bool wipe_on_fork;
};
// Of all mappings, in ascending order. Only /proc/self/smaps says so, and reading it walks the page tables of the whole
// process: tens of milliseconds for a big one.
Result<std::vector<AdvisedMapping>> ReadAdvice();
// Of another process, which it does not hold up.
Result<std::vector<AdvisedMapping>> ReadAdvice(pid_t pid);

// Whether all of this memory is MADV_DONTFORK. As slow.
Result<bool> IsDontFork(const void* address, size_t length = 1);

enum class CarriedOver : uint8_t {
  kWhole,
  kMissing,  // in part or wholly: MADV_DONTFORK
  kWiped,    // likewise: MADV_WIPEONFORK, zeros in the copy
};
// What a fork makes of memory, by the advice of the copy or, if nothing has been changed since, of the process itself.
// made_forkable: it was DONTFORK, and was not for this fork.
CarriedOver HowCarriedOver(const std::vector<AdvisedMapping>& mappings, const void* start,
                           size_t length, bool made_forkable);

struct Residency {
  uint64_t bytes = 0;  // resident pages
  uint64_t bytes_of_units =
      0;  // of the units of `unit` bytes, counted from the start, that have one
};
// What of [start, start + length) is resident. A capture stores whole blocks: with the block size as unit the
// second figure is what it will at most have to write. unit: a multiple of the page size.
Result<Residency> ResidencyOf(const void* start, size_t length, size_t unit);

}  // namespace stillframe
