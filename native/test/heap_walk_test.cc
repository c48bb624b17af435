// The walk over a heap counts each object with its size, whatever is next to it, and trusts nothing
// that it reads. Proved on a heap made by hand, with pages, maps and objects in V8's layout, and
// with the damage that a heap in the middle of a garbage collection shows.
#include "heap/heap_walk.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "heap/fault_guard.h"

namespace stillframe::test {
namespace {

constexpr size_t kWord = 8;
constexpr PageFormat kFormat{false, 0, 1, 3, 4, 5};
constexpr size_t kHeader = 512;
constexpr uintptr_t kHeap = 0x1000;  // the address of the heap; nothing is read from it
constexpr size_t kPages = 6;

HeapLayout Layout() {
  HeapLayout layout;
  layout.instance_size_in_words = 8;
  layout.instance_type = 12;
  layout.string_length = 12;
  layout.string_characters = 16;
  layout.array_length = 8;
  layout.array_elements = 16;
  layout.buffer_byte_length = 16;
  layout.buffer_store = 24;
  layout.map = 255;
  layout.first_fixed_array = 175;
  layout.byte_array = 190;
  layout.property_array = 259;
  layout.first_context = 180;
  layout.last_context = 182;
  layout.filler = 250;
  layout.free_space = 251;
  layout.array_buffer = 2062;
  layout.free_space_unit = 8;
  return layout;
}

class HeapWalkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const size_t length = (kPages + 1) * HeapPages::kPageSize;
    mapping_ = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapping_, MAP_FAILED);
    length_ = length;
    const auto start = reinterpret_cast<uintptr_t>(mapping_);
    first_ = (start + HeapPages::kPageSize - 1) & ~(HeapPages::kPageSize - 1);
    Page(0, 0, kHeap);
    at_ = first_ + kHeader;
    // The map of maps is its own map.
    meta_map_ = at_;
    meta_map_ = Map(255, 80);
    string_map_ = Map(HeapLayout::kOneByteFlag, 0);
    array_map_ = Map(175, 0);
    free_map_ = Map(251, 0);
    object_map_ = Map(1057, 32);
  }
  void TearDown() override { munmap(mapping_, length_); }

  static uintptr_t& Word(uintptr_t address) { return *reinterpret_cast<uintptr_t*>(address); }
  uintptr_t PageStart(size_t number) const { return first_ + number * HeapPages::kPageSize; }
  void Page(size_t number, uintptr_t flags, uintptr_t heap, size_t length = HeapPages::kPageSize) {
    const uintptr_t page = PageStart(number);
    Word(page) = flags;
    Word(page + 1 * kWord) = page;
    Word(page + 3 * kWord) = heap;
    Word(page + 4 * kWord) = page + kHeader;
    Word(page + 5 * kWord) = page + length;
  }
  // Each of these writes an object at at_ and returns its address.
  uintptr_t Put(uintptr_t map, size_t bytes) {
    const uintptr_t object = at_;
    Word(object) = map + 1;
    at_ += bytes;
    return object;
  }
  uintptr_t Map(uint16_t type, size_t size) {
    const uintptr_t map = Put(meta_map_, 80);
    *reinterpret_cast<uint8_t*>(map + 8) = static_cast<uint8_t>(size / kWord);
    memcpy(reinterpret_cast<void*>(map + 12), &type, sizeof type);
    return map;
  }
  uintptr_t Object() { return Put(object_map_, 32); }
  uintptr_t String(uint32_t length) {
    const uintptr_t string = Put(string_map_, (16 + length + 7) & ~size_t{7});
    memcpy(reinterpret_cast<void*>(string + 12), &length, sizeof length);
    return string;
  }
  uintptr_t Sized(uintptr_t map, uint64_t length, size_t bytes) {
    const uintptr_t object = Put(map, bytes);
    Word(object + 8) = length << 32;
    return object;
  }

  HeapPages Pages() const {
    FaultGuard::Install();
    return HeapPages::Find(kFormat, {{first_, PageStart(kPages)}}, {kHeap, kHeap + 1});
  }
  WalkResult Walk(std::vector<HeapWalk::Gap> gaps = {}, size_t slots = 64) {
    const HeapPages pages = Pages();
    maps_ = MapTable(slots);
    return HeapWalk(layout_, pages, std::move(gaps), &maps_).Run();
  }
  ObjectCount Of(uintptr_t map) {
    const MapCount* found = maps_.Find(map);
    return found == nullptr ? ObjectCount{} : found->objects;
  }

  const HeapLayout layout_ = Layout();
  MapTable maps_{64};
  void* mapping_ = nullptr;
  size_t length_ = 0;
  uintptr_t first_ = 0;
  uintptr_t at_ = 0;
  uintptr_t meta_map_ = 0;
  uintptr_t string_map_ = 0;
  uintptr_t array_map_ = 0;
  uintptr_t free_map_ = 0;
  uintptr_t object_map_ = 0;
};

TEST_F(HeapWalkTest, CountsEachObjectWithItsSize) {
  Object(), String(3), Object(), Sized(array_map_, 5, 56), String(8), Object();
  const WalkResult walked = Walk();
  EXPECT_EQ(Of(object_map_).count, 3U);
  EXPECT_EQ(Of(object_map_).bytes, 96U);
  EXPECT_EQ(Of(string_map_).bytes, 24U + 24U);
  EXPECT_EQ(Of(array_map_).bytes, 56U);
  EXPECT_EQ(Of(meta_map_).count, 5U);
  EXPECT_EQ(walked.objects.count, 3U + 2 + 1 + 5);
  EXPECT_EQ(walked.strings.count, 2U);
  EXPECT_EQ(walked.faults, 0U);
}

TEST_F(HeapWalkTest, CountsNothingThatIsFree) {
  const uintptr_t free = Sized(free_map_, 125, 1000);
  Word(free + 80) = object_map_ + 1;  // left behind by a dead object
  Object();
  const uintptr_t next = at_;
  Object(), Object();
  const uintptr_t limit = at_;
  Object();
  const WalkResult walked = Walk({{next, limit}});
  EXPECT_EQ(Of(object_map_).count, 2U);
  EXPECT_EQ(walked.free_bytes, 1000U + 64U);
}

TEST_F(HeapWalkTest, FindsTheNextObjectBehindWhatItDoesNotKnow) {
  const uintptr_t unknown = Map(249, 0);
  Put(unknown, 48);
  Object();
  at_ += 40;  // zeros
  Object();
  Word(at_) = 7777;
  Word(at_ + 8) = first_ + 3;  // a weak reference, not the beginning of an object
  Word(at_ + 16) = 0xDEAD0001;
  at_ += 24;
  Object();
  Walk();
  EXPECT_EQ(Of(object_map_).count, 3U);
  EXPECT_EQ(Of(unknown).count, 1U);
  EXPECT_EQ(Of(unknown).bytes, 48U);
}

// A word that is not really a length must not lead out of the page.
TEST_F(HeapWalkTest, StaysOnThePageWhateverALengthSays) {
  Object();
  for (const uint64_t length : {uint64_t{1} << 31, uint64_t{0xFFFFFFFF}, uint64_t{1} << 17}) {
    Sized(array_map_, length, 16);
    Object();
  }
  String(8);
  const uint32_t huge = 0xFFFFFFF0;
  memcpy(reinterpret_cast<void*>(at_ - 24 + 12), &huge, sizeof huge);
  Object();
  const WalkResult walked = Walk();
  EXPECT_EQ(Of(object_map_).count, 5U);
  EXPECT_EQ(Of(array_map_).count, 0U);
  EXPECT_EQ(Of(string_map_).count, 0U);
  EXPECT_EQ(walked.faults, 0U);
}

TEST_F(HeapWalkTest, BelievesNoMapThatIsNone) {
  Object();
  const uintptr_t fake = at_;
  Word(at_) = object_map_ + 1;  // an object whose map is not a map of maps
  at_ += 80;
  Put(fake, 32);
  Put(0, 8);
  Put(0x10, 8);
  Put(UINTPTR_MAX - 8, 8);
  Put(PageStart(kPages) - 16, 8);  // on no page
  const uintptr_t own_map = at_;   // is its own map, and still not a map of maps
  Put(own_map, 80);
  const uintptr_t of_own_map = Put(own_map, 80);
  Put(of_own_map, 32);
  Object();
  const WalkResult walked = Walk();
  for (const uintptr_t none : {fake, own_map, of_own_map}) EXPECT_EQ(maps_.Find(none), nullptr);
  EXPECT_EQ(Of(object_map_).count, 3U);
  EXPECT_EQ(walked.objects.count, 3U + 5);  // plus the maps
}

TEST_F(HeapWalkTest, LeavesOutOtherHeapsAndOldCopies) {
  Object();
  for (const auto& [number, flags, heap] :
       {std::tuple{1, 0, 0x2000}, std::tuple{2, 8, 0x1000}, std::tuple{3, 0, 0}}) {
    Page(static_cast<size_t>(number), static_cast<uintptr_t>(flags), static_cast<uintptr_t>(heap));
    at_ = PageStart(static_cast<size_t>(number)) + kHeader;
    Object();
  }
  Page(4, 0, kHeap);
  at_ = PageStart(4) + kHeader;
  Object();
  Walk();
  EXPECT_EQ(Of(object_map_).count, 2U);
}

// The old contents of a young page come after its objects.
TEST_F(HeapWalkTest, CountsAYoungPageUpToTheFirstGap) {
  for (size_t number = 1; number <= 2; number++) {
    Page(number, number == 1 ? 16 : 0, kHeap);
    at_ = PageStart(number) + kHeader;
    for (int i = 0; i < 4; i++) Object();
    Word(at_ - 64) = first_ + kHeader;  // where the third object is now
  }
  Walk();
  EXPECT_EQ(Of(object_map_).count, 2U + 3U);
}

TEST_F(HeapWalkTest, TakesALargePageAsOne) {
  Page(1, 0, kHeap, 3 * HeapPages::kPageSize - 4096);
  at_ = PageStart(1) + kHeader;
  const size_t elements = (2 * HeapPages::kPageSize) / kWord;
  Sized(array_map_, elements, 0);
  Page(2, 0, kHeap);  // the contents of the large page may look like a page
  at_ = PageStart(2) + kHeader;
  Object();
  Walk();
  EXPECT_EQ(Of(array_map_).bytes, 16 + elements * kWord);
  EXPECT_EQ(Of(object_map_).count, 0U);
}

TEST_F(HeapWalkTest, TakesNoPageWhoseHeaderDoesNotFit) {
  for (size_t number = 1; number < 5; number++) {
    Page(number, 0, kHeap);
    at_ = PageStart(number) + kHeader;
    Object();
  }
  Word(PageStart(1) + 1 * kWord) += 8;                              // a wrong address of the page
  Word(PageStart(2) + 4 * kWord) = PageStart(2) - 8;                // objects before the page
  Word(PageStart(3) + 5 * kWord) = PageStart(kPages) + kWord;       // objects beyond the memory
  Word(PageStart(4) + 5 * kWord) = Word(PageStart(4) + 4 * kWord);  // no objects at all
  Walk();
  EXPECT_EQ(Of(object_map_).count, 0U);
}

// Unreadable memory costs one page, but not the whole summary.
TEST_F(HeapWalkTest, GoesOnBehindAPageThatCannotBeRead) {
  Object();
  Page(1, 0, kHeap);
  at_ = PageStart(1) + kHeader;
  Object();
  at_ = PageStart(1) + 8192;
  Object();
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(PageStart(1) + 4096), 4096, PROT_NONE), 0);
  Page(2, 0, kHeap);
  at_ = PageStart(2) + kHeader;
  Object();
  EXPECT_EXIT(
      {
        const WalkResult walked = Walk();
        exit(Of(object_map_).count == 3 && walked.faults == 1 ? 7 : 1);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HeapWalkTest, CountsWhatHasNoPlaceInTheTable) {
  std::vector<uintptr_t> maps;
  maps.reserve(100);
  for (int i = 0; i < 100; i++) maps.push_back(Map(1057, 32));
  for (const uintptr_t map : maps) Put(map, 32);
  const uintptr_t unknown = Map(249, 0);
  Put(unknown, 48);
  Object();
  const WalkResult walked = Walk({}, 16);  // room for twelve maps
  EXPECT_EQ(walked.objects.count, 5U + 100 + 100 + 1 + 1 + 1);
  uint64_t told = 0;
  for (const MapCount& map : maps_.slots()) told += map.objects.count;
  EXPECT_EQ(told + walked.without_table.count, walked.objects.count);
  EXPECT_GT(walked.without_table.count, 80U);
}

TEST_F(HeapWalkTest, FindsTheLargestStringsAndBuffers) {
  const uintptr_t buffer_map = Map(2062, 40);
  const uintptr_t external_map = Map(HeapLayout::kExternal | HeapLayout::kOneByteFlag, 32);
  for (uint32_t i = 1; i <= 50; i++) String(i * 8);
  const uintptr_t external = Put(external_map, 32);
  const uint32_t length = 1'000'000;
  memcpy(reinterpret_cast<void*>(external + 12), &length, sizeof length);
  for (uint64_t i = 0; i < 4; i++) {
    const uintptr_t buffer = Put(buffer_map, 40);
    Word(buffer + 16) = 500;
    Word(buffer + 24) = i < 2 ? 0xBEEF : i;  // two of them share their memory
  }
  const WalkResult walked = Walk();
  ASSERT_EQ(walked.largest_strings.end() - walked.largest_strings.begin(), 20);
  EXPECT_EQ(walked.largest_strings.begin()->bytes, 1'000'000U);
  EXPECT_EQ(walked.largest_strings.begin()[1].bytes, 400U);
  EXPECT_EQ(walked.largest_strings.begin()[19].bytes, 400U - 18 * 8);
  EXPECT_EQ(walked.external_string_bytes, 1'000'000U);
  EXPECT_EQ(walked.buffers.count, 4U);
  EXPECT_EQ(walked.largest_buffers.end() - walked.largest_buffers.begin(), 3);
}

}  // namespace
}  // namespace stillframe::test
