// What the kernel says of the process's own mappings.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace stillframe {

enum class Sharing : uint8_t { kPrivate, kShared, kUnmapped };

// One reading of /proc/self/maps, which visits no page tables.
struct AddressRange {
  uintptr_t start;
  uintptr_t end;
};
// What is in both lists, each of which is ascending and without overlaps.
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
  // Reads an open maps file, perhaps that of a process whose file this process could not open.
  static Result<MappingList> ReadFrom(int fd);
  // kShared if any byte of the range is in a MAP_SHARED mapping (fork does not freeze those);
  // kUnmapped if the range has a gap or cannot be read.
  Sharing SharingOf(const void* start, size_t length) const;
  // The private mappings of this list, or parts of them, that `other` does not have, in ascending
  // order; neighbours are one range. Mappings that grow are left out, since they do so in each
  // process by itself.
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
// The advice on all mappings, in ascending order. Only /proc/self/smaps has it, and reading that
// walks the page tables of the whole process: tens of milliseconds for a big one.
Result<std::vector<AdvisedMapping>> ReadAdvice();
// The same for another process, which is not held up by it.
Result<std::vector<AdvisedMapping>> ReadAdvice(pid_t pid);

// Whether all of this memory is MADV_DONTFORK. It is as slow.
Result<bool> IsDontFork(const void* address, size_t length = 1);

enum class CarriedOver : uint8_t {
  kWhole,
  kMissing,  // in part or wholly: MADV_DONTFORK
  kWiped,    // likewise: MADV_WIPEONFORK, zeros in the copy
};
// What a fork makes of memory, according to the advice in the copy or, if nothing has been changed
// since, in the process itself. made_forkable: the memory was DONTFORK, except for this fork.
CarriedOver HowCarriedOver(const std::vector<AdvisedMapping>& mappings, const void* start,
                           size_t length, bool made_forkable);

struct Residency {
  uint64_t bytes = 0;  // resident pages
  uint64_t bytes_of_units =
      0;  // of the units of `unit` bytes, counted from the start, that have one
};
// How much of [start, start + length) is resident. A capture stores whole blocks: with the block
// size as unit, the second figure is the most that it will have to write. unit is a multiple of the
// page size.
Result<Residency> ResidencyOf(const void* start, size_t length, size_t unit);

}  // namespace stillframe
