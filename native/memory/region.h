// The memory of a region: one private mapping, page-aligned, kept out of children and core dumps.
//
// Owned through shared_ptr by everything that could still touch it: the JS Region, the ArrayBuffer
// over it, each capture and each restore into it. The mapping goes when the last of them lets go,
// so neither close() nor garbage collection nor a Worker's end can pull it away from under a
// reader.
//
//        data()                     byte_length()         mapped_length()
//          |  pages that were asked for  | rest of the last page, zero |
//          |                             |                             |
//          2 MiB-aligned, so that huge pages fit from the first byte
//
// The region is MADV_DONTFORK for life: child_process.spawn beside a big region copies none of its
// page tables.
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

// Which section of which frame a region is a mapping of.
struct MappedSection {
  std::array<uint8_t, 16> frame;
  std::string name;
};

class RegionMemory {
 public:
  // Fresh zero memory. Pages come into being when they are first touched.
  static Result<std::shared_ptr<RegionMemory>> Allocate(size_t byte_length, bool huge_pages);
  // A private mapping of [offset, offset + byte_length) of a file. Writes never reach the file.
  static Result<std::shared_ptr<RegionMemory>> MapFile(int fd, uint64_t offset, size_t byte_length);
  // The same of another file over a part of such a region, in whole pages. After a failure the region is of no use.
  Status MapOver(uint64_t at, uint64_t length, int fd, uint64_t file_offset);

  // Whether this byte is memory of a region, of whatever thread.
  static bool IsIn(const std::byte* address);

  // The mappings of all regions of the process, which a forked copy that runs JavaScript does
  // without.
  static std::vector<AddressRange> AllRanges();
  // For a second library that has this code for itself: the regions of the first are the process's.
  using RangeLister = void (*)(void (*add)(void* to, AddressRange range), void* to);
  static void ListRanges(void (*add)(void* to, AddressRange range), void* to);
  static void ShareRanges(RangeLister lister);

  // Gives the pages back at once. The mapping stays until its last owner lets go, and reads as zero
  // (or as the file). It is for a region that has been closed while the garbage collector still
  // holds its buffer.
  void Discard();
  bool discarded() const { return discarded_.load(std::memory_order_relaxed); }

  // Something that goes with the memory, and is destroyed before it is unmapped: what keeps record
  // of the writes to it, of which this room knows nothing. Any thread.
  void SetCompanion(std::shared_ptr<void> companion);
  std::shared_ptr<void> companion() const;

  ~RegionMemory();
  std::byte* data() const { return mapping_.data(); }
  size_t byte_length() const { return byte_length_; }
  size_t mapped_length() const { return mapping_.length(); }

  // Set once, before others get the region. Pages that nobody has written to since are the section's.
  void SetMappedFrom(MappedSection section) { mapped_from_ = std::move(section); }
  const std::optional<MappedSection>& mapped_from() const { return mapped_from_; }

  // Whether huge pages were asked for.
  bool huge_pages() const { return huge_pages_; }
  // Only one thread at a time puts huge pages together (memory/huge_pages.h).
  bool TakeCollapse() { return !collapsing_.exchange(true); }
  void GiveCollapse() { collapsing_ = false; }

  // Not all of its pages are there yet, and whoever reads them waits: nothing of ours may.
  void SetFilling(bool filling) { filling_ = filling; }
  bool filling() const { return filling_; }

  // How many captures and restores are working on the memory. Used from any thread.
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

// Holds a region busy (close() is refused) and its memory alive. Move-only.
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
