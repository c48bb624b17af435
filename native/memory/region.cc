#include "memory/region.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>

#include "base/arithmetic.h"
#include "memory/page.h"

namespace stillframe {
namespace {

// Advice for the whole life of a region. Huge pages are only requested (a kernel without them
// returns EINVAL), but keeping the memory out of children is mandatory, since every pause depends
// on it.
Status AdviseForLife(void* start, size_t length, bool huge_pages) {
  if (huge_pages) sys::Madvise(start, length, MADV_HUGEPAGE);
  const int error = sys::Madvise(start, length, MADV_DONTFORK);
  if (error < 0)
    return SystemFailure("madvise", -error, "cannot keep a region out of child processes");
  return Success{};
}

// Maps at `where` and replaces the mapping there; at any address if `where` is null.
Result<void*> MapPrivately(void* where, size_t length, int fd, uint64_t offset) {
  const int flags = MAP_PRIVATE | (where != nullptr ? MAP_FIXED : 0);
  void* address = sys::Mmap(where, length, PROT_READ | PROT_WRITE, flags, fd, offset);
  if (!sys::IsError(address)) return address;
  return SystemFailure("mmap", static_cast<int>(-reinterpret_cast<int64_t>(address)),
                       "cannot map a section of the file");
}

Status AdviseMappingOfFile(void* start, size_t length) {
  sys::Madvise(start, length, MADV_DONTDUMP);  // data written to it exists only in memory
  return AdviseForLife(start, length, false);
}

// All regions of this addon.
struct Registry {
  std::mutex mutex;
  std::map<uintptr_t, size_t> ranges;  // lengths by start address
  std::atomic<RegionMemory::RangeLister> lister{&RegionMemory::ListRanges};
};

Registry& AllRegions() {
  static auto* registry = new Registry;  // never destroyed: a region may die during exit
  return *registry;
}

}  // namespace

RegionMemory::RegionMemory(Mapping mapping, size_t byte_length, bool huge_pages)
    : mapping_(std::move(mapping)), byte_length_(byte_length), huge_pages_(huge_pages) {
  const std::lock_guard lock(AllRegions().mutex);
  AllRegions().ranges.emplace(reinterpret_cast<uintptr_t>(mapping_.data()), mapping_.length());
}

RegionMemory::~RegionMemory() {
  companion_.reset();
  const std::lock_guard lock(AllRegions().mutex);
  AllRegions().ranges.erase(reinterpret_cast<uintptr_t>(mapping_.data()));
}

void RegionMemory::SetCompanion(std::shared_ptr<void> companion) {
  const std::lock_guard lock(companion_mutex_);
  companion_.swap(companion);
  // The previous companion is now in `companion`. It is destroyed with that argument, after the
  // lock has been released.
}

std::shared_ptr<void> RegionMemory::companion() const {
  const std::lock_guard lock(companion_mutex_);
  return companion_;
}

bool RegionMemory::IsIn(const std::byte* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  const std::lock_guard lock(AllRegions().mutex);
  const auto after = AllRegions().ranges.upper_bound(at);
  if (after == AllRegions().ranges.begin()) return false;
  const auto [start, length] = *std::prev(after);
  return at - start < length;
}

void RegionMemory::ListRanges(void (*add)(void* to, AddressRange range), void* to) {
  const std::lock_guard lock(AllRegions().mutex);
  for (const auto& [start, length] : AllRegions().ranges) add(to, {start, start + length});
}

void RegionMemory::ShareRanges(RangeLister lister) { AllRegions().lister = lister; }

std::vector<AddressRange> RegionMemory::AllRanges() {
  std::vector<AddressRange> ranges;
  const auto add = [](void* to, AddressRange range) {
    static_cast<std::vector<AddressRange>*>(to)->push_back(range);
  };
  AllRegions().lister.load()(add, &ranges);
  return ranges;
}

Result<std::shared_ptr<RegionMemory>> RegionMemory::Allocate(size_t byte_length, bool huge_pages) {
  const size_t length = RoundUp(std::max<size_t>(byte_length, 1), SystemPageSize());
  Result<Mapping> mapping = Mapping::AnonymousAligned(length, kHugePageSize, "a region");
  if (!mapping.ok()) return mapping.failure();
  const Status advised = AdviseForLife(mapping.value().data(), length, huge_pages);
  if (!advised.ok()) return Status(advised).failure();
  return std::shared_ptr<RegionMemory>(
      new RegionMemory(std::move(mapping.value()), byte_length, huge_pages));
}

Result<std::shared_ptr<RegionMemory>> RegionMemory::MapFile(int fd, uint64_t offset,
                                                            size_t byte_length) {
  const size_t length = RoundUp(std::max<size_t>(byte_length, 1), SystemPageSize());
  Result<void*> address = MapPrivately(nullptr, length, fd, offset);
  if (!address.ok()) return address.failure();
  Mapping mapping(address.value(), length);
  const Status advised = AdviseMappingOfFile(mapping.data(), length);
  if (!advised.ok()) return Status(advised).failure();
  return std::shared_ptr<RegionMemory>(new RegionMemory(std::move(mapping), byte_length, false));
}

Status RegionMemory::MapOver(uint64_t at, uint64_t length, int fd, uint64_t file_offset) {
  Result<void*> address = MapPrivately(data() + at, length, fd, file_offset);
  if (!address.ok()) return address.failure();
  return AdviseMappingOfFile(address.value(), length);
}

void RegionMemory::Discard() {
  discarded_.store(true, std::memory_order_relaxed);
  SetCompanion(nullptr);
  sys::Madvise(mapping_.data(), mapping_.length(), MADV_DONTNEED);
}

}  // namespace stillframe
