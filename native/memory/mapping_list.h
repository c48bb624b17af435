// The mappings of this process or another one, as reported by the kernel.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace stillframe {

enum class Sharing : uint8_t { kPrivate, kShared, kUnmapped };

// Half-open: [start, end).
struct AddressRange {
  uintptr_t start;
  uintptr_t end;
};
// The parts that are in both lists. Each list must be in ascending order and free of overlaps, here
// and below.
std::vector<AddressRange> Intersection(const std::vector<AddressRange>& a,
                                       const std::vector<AddressRange>& b);
// The parts of `a` that are not in `b`.
std::vector<AddressRange> Difference(const std::vector<AddressRange>& a,
                                     const std::vector<AddressRange>& b);

// One reading of /proc/PID/maps, which does not visit the page tables.
class MappingList {
 public:
  static Result<MappingList> Read();
  // The mappings of another process.
  static Result<MappingList> Read(pid_t pid);
  // Reads an open maps file, possibly that of a process whose file this process could not open
  // itself.
  static Result<MappingList> ReadFrom(int fd);
  // kShared if any byte of the range is in a MAP_SHARED mapping, which fork does not freeze.
  // kUnmapped if the range has a gap or an unreadable part.
  Sharing SharingOf(const void* start, size_t length) const;
  // The private mappings of this list, or parts of them, that are not in `other`, in ascending
  // order. Adjacent mappings are merged into one range. Mappings that grow are left out, since they
  // grow in each process independently.
  std::vector<AddressRange> PrivateMissingIn(const MappingList& other) const;
  // The private mappings that belong to no file, with the same exceptions. One area reaches over
  // gaps in which nothing is mapped: a call about the area is a call about each of its mappings.
  std::vector<AddressRange> PrivateAnonymousAreas() const;
  // The same as PrivateMissingIn for readable mappings only.
  std::vector<AddressRange> ReadableMissingIn(const MappingList& other) const;

 private:
  struct Entry {
    uintptr_t start;
    uintptr_t end;
    bool readable;
    bool shared;
    bool anonymous;  // no file
    bool grows;      // the stack of the main thread, or the heap of brk()
  };
  template <typename Wanted>
  std::vector<AddressRange> RangesOf(Wanted wanted) const;

  std::vector<Entry> entries_;  // in ascending order, as the kernel lists them
};

// The advice (madvise) that is in effect for one mapping.
struct AdvisedMapping {
  AddressRange range;
  bool dont_fork;
  bool random;
  bool wipe_on_fork;
};
// The advice on all mappings, in ascending order. Only /proc/self/smaps has it, and reading that
// walks the page tables of the whole process, which takes tens of milliseconds in a big process.
Result<std::vector<AdvisedMapping>> ReadAdvice();
// The same for another process, which is not held up by the reading.
Result<std::vector<AdvisedMapping>> ReadAdvice(pid_t pid);

// True if all of this memory is MADV_DONTFORK. As slow as ReadAdvice().
Result<bool> IsDontFork(const void* address, size_t length = 1);

enum class CarriedOver : uint8_t {
  kWhole,
  kMissing,  // at least in part: MADV_DONTFORK
  kWiped,    // at least in part: MADV_WIPEONFORK, zeros in the copy
};
// What a fork does to memory, according to the advice in the copy, or to that in the process itself
// if it has not changed since. made_forkable: the memory was MADV_DONTFORK, except during this
// fork.
CarriedOver HowCarriedOver(const std::vector<AdvisedMapping>& mappings, const void* start,
                           size_t length, bool made_forkable);

struct Residency {
  uint64_t bytes = 0;           // resident pages
  uint64_t bytes_of_units = 0;  // of all units that have a resident page
};
// How much of [start, start + length) is resident. The memory is divided into units of `unit` bytes
// from its start. A capture stores whole blocks, so with the block size as unit, bytes_of_units is
// the most that it will have to write. `unit` is a multiple of the page size.
Result<Residency> ResidencyOf(const void* start, size_t length, size_t unit);

}  // namespace stillframe
