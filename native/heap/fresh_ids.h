// Ids of heap snapshots that no other file has.
//
// V8 gives ids to the nodes of a heap snapshot, and keeps a table of them so that the next heap
// snapshot gives the same objects the same ids. The ids given in a forked copy are lost with the
// copy: the next copy would give the same ids to other objects, and a tool that compares the two
// files would mistake these objects for one another. So unless the service keeps the table
// (stableIds), the ids of each file are moved to a range of their own while V8's JSON passes by on
// its way to the file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heap/snapshot_filter.h"

namespace stillframe {

// Hands out ranges of ids, one range for each file. The ids in a file exceed `first` by the ids
// that V8 gave. The state is process-wide, and may be used on any thread.
class FreshIds {
 public:
  // V8's own ids grow from the bottom of the 32-bit range; the ids of files are in its upper half.
  static constexpr uint32_t kLowest = uint32_t{1} << 31;

  // The most ids that a heap with `used_bytes` in use needs.
  static uint64_t MostFor(uint64_t used_bytes);
  // Takes a range for a file with at most `at_most` ids. Returns `first`, an even number.
  static uint32_t Take(uint64_t at_most);
  // Called when the file is complete, with the highest id in it, or with 0 if there is no file.
  // Returns the unused part of the range, unless other ranges have been taken since.
  static void GiveBack(uint32_t first, uint64_t at_most, uint32_t highest);
};

// Moves ids in V8's JSON to the range that begins with `first`, an even number. Ids that are moved
// are the odd ids greater than `last_kept`, which the service's V8 does not know, and all even ids,
// which belong to objects outside V8's heap and which V8 never knows.
class IdMover final : public SnapshotFilter {
 public:
  static constexpr int64_t kKeepNone = -1;
  IdMover(uint32_t first, int64_t last_kept) : first_(first), last_kept_(last_kept) {}
  // The highest id among those moved so far.
  uint32_t highest() const { return highest_; }

 private:
  bool OnBegin(Records kind, const Layout& layout) override;
  void OnRecord(Records kind, uint64_t* record) override;
  void OnString(bool in_table, std::string_view escaped, std::string* out) override;
  bool IsMoved(uint64_t id) const;
  uint64_t Moved(uint64_t odd_id) const;

  const uint32_t first_;
  const int64_t last_kept_;
  uint32_t highest_ = 0;
  uint64_t outside_ = 0;  // objects outside V8's heap so far
  size_t id_field_ = kNone;
};

}  // namespace stillframe
