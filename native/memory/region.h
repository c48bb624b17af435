// The memory of a region: one private page-aligned mapping, kept out of children and core dumps.
//
// Owned through shared_ptr by everything that may still touch it: the JS Region, the ArrayBuffer
// over it, each capture of it and each restore into it. It is unmapped when the last owner releases
// it, so neither close() nor garbage collection nor the end of a Worker can unmap it during a read.
//
//        data()                     byte_length()         mapped_length()
//          |  pages that were asked for  | rest of the last page, zero |
//          |                             |                             |
//          2 MiB-aligned, so that huge pages fit from the first byte
//
// The region is MADV_DONTFORK for life, so child_process.spawn() in a process with a big region
// copies none of the region's page tables.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "memory/mapping_list.h"

namespace stillframe {

// The section of a frame that a region is a mapping of.
struct MappedSection {
  std::array<uint8_t, 16> frame;
  std::string name;
};

class RegionMemory {
 public:
  // New zero-filled memory. Its pages are allocated when they are first touched.
  static Result<std::shared_ptr<RegionMemory>> Allocate(size_t byte_length, bool huge_pages);
  // A private mapping of [offset, offset + byte_length) of a file. Writes never reach the file.
  static Result<std::shared_ptr<RegionMemory>> MapFile(int fd, uint64_t offset, size_t byte_length);
  // Replaces a part of such a region, in whole pages, by a private mapping of another file. After a
  // failure the region must not be used.
  Status MapOver(uint64_t at, uint64_t length, int fd, uint64_t file_offset);

  // True if this byte is in the memory of a region, whichever thread owns the region.
  static bool IsIn(const std::byte* address);

  // The mappings of all regions of the process. A forked copy that runs JavaScript leaves them out.
  static std::vector<AddressRange> AllRanges();
  // For the heap addon, which contains its own copy of this code: AllRanges() then lists the
  // regions of the first addon, which are those of the process.
  using RangeLister = void (*)(void (*add)(void* to, AddressRange range), void* to);
  static void ListRanges(void (*add)(void* to, AddressRange range), void* to);
  static void ShareRanges(RangeLister lister);

  // Gives the pages back at once. Until the last owner releases the mapping, it reads as zero (or
  // as the file). Used for a region that has been closed while the garbage collector still holds
  // its buffer.
  void Discard();
  bool discarded() const { return discarded_.load(std::memory_order_relaxed); }

  // An object that belongs to the memory and is destroyed before the memory is unmapped: the record
  // of the writes to it, of which this directory knows nothing. Any thread.
  void SetCompanion(std::shared_ptr<void> companion);
  std::shared_ptr<void> companion() const;

  ~RegionMemory();
  std::byte* data() const { return mapping_.data(); }
  size_t byte_length() const { return byte_length_; }
  size_t mapped_length() const { return mapping_.length(); }

  // Set once, before the region is shared. Pages that have not been written to since then have the
  // contents of the section.
  void SetMappedFrom(MappedSection section) { mapped_from_ = std::move(section); }
  const std::optional<MappedSection>& mapped_from() const { return mapped_from_; }

  // True if huge pages were requested.
  bool huge_pages() const { return huge_pages_; }
  // Only one thread at a time may collapse huge pages of the region (memory/huge_pages.h).
  bool TakeCollapse() { return !collapsing_.exchange(true); }
  void GiveCollapse() { collapsing_ = false; }

  // True while some of its pages are still missing. A thread that reads a missing page waits for
  // it, which no thread of this library may do.
  void SetFilling(bool filling) { filling_ = filling; }
  bool filling() const { return filling_; }

  // True while a capture or a restore is working on the memory. Any thread.
  bool busy() const { return users_.load(std::memory_order_acquire) > 0; }

 private:
  friend class RegionUse;
  RegionMemory(Mapping mapping, size_t byte_length, bool huge_pages);

  Mapping mapping_;
  size_t byte_length_;
  bool huge_pages_;
  std::optional<MappedSection> mapped_from_;
  std::atomic<bool> collapsing_{false};
  std::atomic<bool> filling_{false};
  std::atomic<bool> discarded_{false};
  std::atomic<int> users_{0};
  mutable std::mutex companion_mutex_;
  std::shared_ptr<void> companion_;
};

// Keeps a region busy (close() is refused) and its memory alive. Move-only.
class RegionUse {
 public:
  RegionUse() = default;
  explicit RegionUse(std::shared_ptr<RegionMemory> region) : region_(std::move(region)) {
    if (region_) region_->users_.fetch_add(1, std::memory_order_acq_rel);
  }
  RegionUse(RegionUse&&) noexcept = default;
  RegionUse& operator=(RegionUse&& other) noexcept {
    Release();
    region_ = std::move(other.region_);
    return *this;
  }
  ~RegionUse() { Release(); }

  RegionMemory* get() const { return region_.get(); }
  const std::shared_ptr<RegionMemory>& memory() const { return region_; }

 private:
  void Release() {
    if (region_) region_->users_.fetch_sub(1, std::memory_order_acq_rel);
    region_.reset();
  }
  std::shared_ptr<RegionMemory> region_;
};

}  // namespace stillframe
