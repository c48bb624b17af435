// The library's picture of its own address space is that of the kernel. Proved on mappings of every
// kind, made for this purpose.
#include "memory/mapping_list.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/small_file.h"
#include "memory/mapping_budget.h"
#include "memory/page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

const size_t kPage = SystemPageSize();

// Four pages with a hole around them: private, shared, unreadable, unmapped.
class Neighbours : public ::testing::Test {
 protected:
  void SetUp() override {
    start_ = static_cast<std::byte*>(
        mmap(nullptr, 8 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(start_, MAP_FAILED);
    at_ = start_ + 2 * kPage;
    ASSERT_EQ(Place(0, MAP_PRIVATE), at_);
    ASSERT_EQ(Place(1, MAP_SHARED), at_ + kPage);
    ASSERT_EQ(munmap(at_ + 3 * kPage, kPage), 0);
    Result<MappingList> mappings = MappingList::Read();
    ASSERT_TRUE(mappings.ok());
    mappings_ = mappings.value();
  }
  void TearDown() override { munmap(start_, 8 * kPage); }
  void* Place(size_t page, int sharing) {
    return mmap(at_ + page * kPage, kPage, PROT_READ | PROT_WRITE,
                sharing | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  }

  std::byte* start_ = nullptr;
  std::byte* at_ = nullptr;
  MappingList mappings_;
};

TEST_F(Neighbours, AreToldApart) {
  EXPECT_EQ(mappings_.SharingOf(at_, kPage), Sharing::kPrivate);
  EXPECT_EQ(mappings_.SharingOf(at_ + 5, 1), Sharing::kPrivate);
  EXPECT_EQ(mappings_.SharingOf(at_ + kPage - 1, 1), Sharing::kPrivate);
  EXPECT_EQ(mappings_.SharingOf(at_ + kPage, 1), Sharing::kShared);
  EXPECT_EQ(mappings_.SharingOf(at_ + 2 * kPage, kPage), Sharing::kUnmapped) << "unreadable";
  EXPECT_EQ(mappings_.SharingOf(at_ + 3 * kPage, kPage), Sharing::kUnmapped) << "nothing there";
}

TEST_F(Neighbours, AnAreaWithoutFilesReachesOverGapsAndNotOverOtherMappings) {
  const MemoryFile file;
  ASSERT_EQ(ftruncate(file.fd(), static_cast<off_t>(kPage)), 0);
  ASSERT_NE(mmap(at_ + 5 * kPage, kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, file.fd(), 0),
            MAP_FAILED);
  Result<MappingList> mappings = MappingList::Read();
  ASSERT_TRUE(mappings.ok());
  const auto first_beyond = [&](size_t page) -> const std::byte* {
    const auto address = reinterpret_cast<uintptr_t>(at_ + page * kPage);
    for (const AddressRange& area : mappings.value().PrivateAnonymousAreas())
      if (area.start <= address && address < area.end)
        return reinterpret_cast<std::byte*>(area.end);
    return nullptr;
  };
  EXPECT_EQ(first_beyond(0), at_ + kPage) << "up to the shared page";
  EXPECT_EQ(first_beyond(1), nullptr);
  EXPECT_EQ(first_beyond(2), at_ + 5 * kPage) << "over the hole, up to the file";
  EXPECT_EQ(first_beyond(5), nullptr);
}

TEST_F(Neighbours, ARangeIsWhatTheWorstOfItsPagesIs) {
  EXPECT_EQ(mappings_.SharingOf(at_, 2 * kPage), Sharing::kShared);
  EXPECT_EQ(mappings_.SharingOf(at_ + kPage - 1, 2), Sharing::kShared);
  EXPECT_EQ(mappings_.SharingOf(at_ + kPage, kPage + 1), Sharing::kUnmapped);
  EXPECT_EQ(mappings_.SharingOf(at_ + 3 * kPage, 2 * kPage), Sharing::kUnmapped);
}

TEST(MappingList, KnowsStackAndHeap) {
  const int on_the_stack = 0;
  const Bytes on_the_heap(100);
  const MappingList mappings = MappingList::Read().value();
  EXPECT_EQ(mappings.SharingOf(&on_the_stack, sizeof on_the_stack), Sharing::kPrivate);
  EXPECT_EQ(mappings.SharingOf(on_the_heap.data(), on_the_heap.size()), Sharing::kPrivate);
  EXPECT_EQ(mappings.SharingOf(nullptr, 1), Sharing::kUnmapped);
  EXPECT_EQ(mappings.SharingOf(reinterpret_cast<void*>(~uintptr_t{0} - 10), 5), Sharing::kUnmapped);
}

TEST(MappingList, WithoutProcThereIsNone) {
  const FaultScope faults;
  FaultScope::Fail("openat", 1, ENOENT, true);
  Result<MappingList> mappings = MappingList::Read();
  ASSERT_FALSE(mappings.ok());
  EXPECT_NE(mappings.failure().message.find("/proc"), std::string::npos);
  EXPECT_FALSE(IsDontFork(&faults).ok());
}

TEST_F(Neighbours, DontForkIsSeenWhereItIsAndNowhereElse) {
  EXPECT_FALSE(IsDontFork(at_).value());
  ASSERT_EQ(madvise(at_, kPage, MADV_DONTFORK), 0);
  EXPECT_TRUE(IsDontFork(at_).value());
  EXPECT_TRUE(IsDontFork(at_ + kPage - 1).value());
  EXPECT_FALSE(IsDontFork(at_ + kPage).value());
  ASSERT_EQ(madvise(at_, kPage, MADV_DOFORK), 0);
  EXPECT_FALSE(IsDontFork(at_).value());
  EXPECT_FALSE(IsDontFork(nullptr).value());
}

TEST(Residency, CountsThePagesThatWereTouchedAndTheUnitsTheyLieIn) {
  const size_t pages = 200'000;  // more than one window of the count
  auto* at = static_cast<std::byte*>(
      mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(at, MAP_FAILED);
  madvise(at, pages * kPage, MADV_NOHUGEPAGE);
  const size_t unit = 64 * kPage;
  EXPECT_EQ(ResidencyOf(at, pages * kPage, unit).value().bytes, 0U);
  for (const size_t page : {size_t{0}, size_t{5}, size_t{65535}, size_t{65536}, pages - 1}) {
    at[page * kPage + 7] = std::byte{1};
  }
  const Residency all = ResidencyOf(at, pages * kPage, unit).value();
  EXPECT_EQ(all.bytes, 5 * kPage);
  // Two in the first unit, two on both sides of a border, one in the last unit, which is as long as
  // the others.
  EXPECT_EQ(all.bytes_of_units, 4 * unit);
  const Residency some = ResidencyOf(at + kPage, 5 * kPage, unit).value();
  EXPECT_EQ(some.bytes, kPage);
  EXPECT_EQ(some.bytes_of_units, 5 * kPage) << "never more than the range has";
  EXPECT_EQ(ResidencyOf(at + 7, 1, unit).value().bytes, 1U);
  EXPECT_EQ(ResidencyOf(at, 0, unit).value().bytes, 0U);
  munmap(at, pages * kPage);
  EXPECT_FALSE(ResidencyOf(at, pages * kPage, unit).ok());
}

TEST(CarriedOver, IsMissingWhereAnyPartOfItIsKeptFromChildren) {
  const std::vector<AdvisedMapping> mappings = {
      {{0x1000, 0x3000}, false, false, false},
      {{0x3000, 0x4000}, true, false, false},
      {{0x4000, 0x5000}, false, false, true},
      {{0x6000, 0x7000}, false, false, false},
  };
  const auto how = [&](uintptr_t start, size_t length, bool made_forkable) {
    return HowCarriedOver(mappings, reinterpret_cast<const void*>(start), length, made_forkable);
  };
  EXPECT_EQ(how(0x1000, 0x2000, false), CarriedOver::kWhole);
  EXPECT_EQ(how(0x2fff, 2, false), CarriedOver::kMissing);
  EXPECT_EQ(how(0x2fff, 2, true), CarriedOver::kWhole);
  EXPECT_EQ(how(0x3800, 0x900, true), CarriedOver::kWiped);
  EXPECT_EQ(how(0x6800, 0x1000, false), CarriedOver::kMissing) << "it ends before";
  EXPECT_EQ(how(0x5000, 0x1000, false), CarriedOver::kMissing) << "nothing is there";
}

TEST(MappingBudget, LeavesHalfOfWhatIsFreeToTheService) {
  const auto limit = ReadSmallFile("/proc/sys/vm/max_map_count");
  if (!limit) GTEST_SKIP() << "needs /proc";
  const uint64_t most = strtoull(limit->c_str(), nullptr, 10);
  EXPECT_GT(MappingBudget(), 0U);
  EXPECT_LE(MappingBudget(), most / 2);
}

}  // namespace
}  // namespace stillframe::test
