// A region is zeroed, aligned for huge pages, excluded from children, and lives as long as it is in
// use; a mapped file is never written. Tested by asking the kernel, and by failing the calls that
// create a region.
#include "memory/region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/small_file.h"
#include "memory/mapping_list.h"
#include "memory/page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

using Region = std::shared_ptr<RegionMemory>;

TEST(Region, KnowsItsOwnBytesAndNoOthers) {
  Result<Region> made = RegionMemory::Allocate((size_t{2} << 20) + 1, true);
  ASSERT_TRUE(made.ok());
  std::byte* const start = made.value()->data();
  const size_t length = made.value()->mapped_length();
  EXPECT_TRUE(RegionMemory::IsIn(start));
  EXPECT_TRUE(RegionMemory::IsIn(start + length - 1));
  const auto is_of_any = [](const std::byte* address) {
    const std::vector<AddressRange> ranges = RegionMemory::AllRanges();
    const auto at = reinterpret_cast<uintptr_t>(address);
    return std::any_of(ranges.begin(), ranges.end(),
                       [at](AddressRange range) { return at >= range.start && at < range.end; });
  };
  EXPECT_EQ(RegionMemory::IsIn(start - 1), is_of_any(start - 1));
  EXPECT_EQ(RegionMemory::IsIn(start + length), is_of_any(start + length));
  std::byte elsewhere{};
  EXPECT_FALSE(RegionMemory::IsIn(&elsewhere));
  EXPECT_FALSE(RegionMemory::IsIn(nullptr));
  made.value().reset();
  EXPECT_FALSE(RegionMemory::IsIn(start));
}

TEST(Region, IsZeroAlignedAndWritable) {
  for (const size_t length :
       {size_t{1}, SystemPageSize(), size_t{3} << 20, (size_t{5} << 20) + 1}) {
    Result<Region> made = RegionMemory::Allocate(length, true);
    ASSERT_TRUE(made.ok());
    const Region& region = made.value();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(region->data()) % kHugePageSize, 0U);
    EXPECT_EQ(region->byte_length(), length);
    EXPECT_EQ(region->mapped_length(), RoundUp(length, SystemPageSize()));
    const std::byte* end = region->data() + region->mapped_length();
    EXPECT_TRUE(std::all_of(region->data(), const_cast<std::byte*>(end),
                            [](std::byte byte) { return byte == std::byte{0}; }));
    region->data()[region->mapped_length() - 1] = std::byte{1};
  }
}

TEST(Region, MayBeEmptyAndMayBeLargerThanMemory) {
  Result<Region> empty = RegionMemory::Allocate(0, false);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty.value()->byte_length(), 0U);
  EXPECT_NE(empty.value()->data(), nullptr);
  // Memory is not allocated before it is touched.
  Result<Region> large = RegionMemory::Allocate(size_t{10} << 30, true);
  ASSERT_TRUE(large.ok()) << large.failure().message;
  large.value()->data()[(size_t{10} << 30) - 1] = std::byte{1};
}

TEST(Region, GivesBackWhatAlignmentNeeded) {
  Result<Region> made = RegionMemory::Allocate(4 * SystemPageSize(), false);
  ASSERT_TRUE(made.ok());
  const std::byte* data = made.value()->data();
  const size_t length = made.value()->mapped_length();
  Result<MappingList> mappings = MappingList::Read();
  ASSERT_TRUE(mappings.ok());
  EXPECT_EQ(mappings.value().SharingOf(data, length), Sharing::kPrivate);
  // The range before it, as long as a huge page, is unmapped.
  const uint64_t resident_or_not = kHugePageSize;
  EXPECT_EQ(mappings.value().SharingOf(data - resident_or_not, resident_or_not),
            Sharing::kUnmapped);
}

TEST(Region, IsKeptOutOfChildren) {
  for (const bool huge : {false, true}) {
    Result<Region> made = RegionMemory::Allocate(1 << 20, huge);
    ASSERT_TRUE(made.ok());
    Result<bool> dont_fork = IsDontFork(made.value()->data());
    ASSERT_TRUE(dont_fork.ok());
    EXPECT_TRUE(dont_fork.value());
  }
}

TEST(Region, HugePagesAndCoreDumpsAreWishesChildrenAreNot) {
  const FaultScope faults;
  // The order of the calls: huge pages, core dumps, children.
  for (const uint32_t nth : {1U, 2U, 3U}) {
    FaultScope::Fail("madvise", nth, EINVAL);
    Result<Region> made = RegionMemory::Allocate(4096, true);
    EXPECT_EQ(made.ok(), nth != 3) << nth;
    if (made.ok()) continue;
    EXPECT_STREQ(made.failure().syscall, "madvise");
    EXPECT_EQ(made.failure().error_number, EINVAL);
  }
}

TEST(Region, OutOfAddressSpaceIsAnErrorWithTheSize) {
  Result<Region> made = RegionMemory::Allocate(size_t{1} << 60, true);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.failure().error_number, ENOMEM);
  EXPECT_NE(made.failure().message.find(std::to_string(size_t{1} << 60)), std::string::npos);
}

TEST(Region, IsUnmappedWithItsLastUser) {
  Result<Region> made = RegionMemory::Allocate(1 << 20, false);
  ASSERT_TRUE(made.ok());
  const std::byte* data = made.value()->data();
  RegionUse use(made.value());
  made.value().reset();
  EXPECT_EQ(MappingList::Read().value().SharingOf(data, 1 << 20), Sharing::kPrivate);
  use = RegionUse();
  EXPECT_EQ(MappingList::Read().value().SharingOf(data, 1 << 20), Sharing::kUnmapped);
}

TEST(Region, IsBusyWhileItIsUsed) {
  const Region region = RegionMemory::Allocate(4096, false).value();
  EXPECT_FALSE(region->busy());
  RegionUse first(region);
  EXPECT_EQ(first.get(), region.get());
  {
    const RegionUse second(region);
    EXPECT_TRUE(region->busy());
  }
  EXPECT_TRUE(region->busy());
  RegionUse moved(std::move(first));
  EXPECT_TRUE(region->busy());
  first = RegionUse();  // NOLINT: what was moved from holds nothing
  EXPECT_TRUE(region->busy());
  moved = RegionUse(region);
  EXPECT_TRUE(region->busy());
  moved = RegionUse();
  EXPECT_FALSE(region->busy());
  const RegionUse none;
  EXPECT_EQ(none.get(), nullptr);
}

class MappedFile : public ::testing::Test {
 protected:
  void SetUp() override {
    contents_ = Pattern(3 * kPartAlignment, 1);
    WriteAt(file_.fd(), contents_.data(), contents_.size(), 0);
  }
  MemoryFile file_;
  Bytes contents_;
};

TEST_F(MappedFile, ShowsItsPartOfTheFile) {
  Result<Region> made = RegionMemory::MapFile(file_.fd(), kPartAlignment, kPageSize + 5);
  ASSERT_TRUE(made.ok());
  const Region& region = made.value();
  EXPECT_EQ(region->byte_length(), kPageSize + 5);
  EXPECT_TRUE(std::equal(region->data(), region->data() + kPageSize + 5,
                         contents_.begin() + static_cast<int64_t>(kPartAlignment)));
  EXPECT_TRUE(IsDontFork(region->data()).value());
}

TEST_F(MappedFile, IsNeverWrittenTo) {
  const Region region = RegionMemory::MapFile(file_.fd(), 0, kPartAlignment).value();
  std::fill_n(region->data(), kPartAlignment, std::byte{0});
  EXPECT_TRUE(ReadAll(file_.fd()) == contents_);
}

TEST_F(MappedFile, OutlivesTheNameOfTheFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.File("file");
  WriteFile(path, std::string(8192, 'x'));
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const Region region = RegionMemory::MapFile(fd.get(), 0, 8192).value();
  fd.Reset();
  unlink(path.c_str());
  EXPECT_EQ(region->data()[8191], std::byte{'x'});
}

TEST_F(MappedFile, WhatCannotBeMappedIsAnError) {
  const FaultScope faults;
  FaultScope::Fail("mmap", 1, ENODEV);
  Result<Region> made = RegionMemory::MapFile(file_.fd(), 0, 4096);
  ASSERT_FALSE(made.ok());
  EXPECT_STREQ(made.failure().syscall, "mmap");
  EXPECT_EQ(made.failure().error_number, ENODEV);
}

// Address space of this process, in bytes.
uint64_t AddressSpace() {
  const auto status = ReadSmallFile("/proc/self/status");
  return status ? NumberAfter(*status, "VmSize:").value_or(0) * 1024 : 0;
}

TEST(Region, TakesNoAddressSpaceBeyondItsOwn) {
  const size_t length = size_t{3} << 20;
  const uint64_t before = AddressSpace();
  ASSERT_GT(before, 0U);
  std::vector<Region> regions;
  regions.reserve(64);
  for (int i = 0; i < 64; i++) regions.push_back(RegionMemory::Allocate(length, true).value());
  // If the borders needed for alignment were kept, it would be two thirds more.
  EXPECT_LT(AddressSpace() - before, 64 * length + (size_t{16} << 20));
  regions.clear();
  EXPECT_LT(AddressSpace(), before + (size_t{16} << 20));
}

TEST(Region, IsListedForAsLongAsItIsThere) {
  const size_t before = RegionMemory::AllRanges().size();
  Region region = RegionMemory::Allocate(1 << 20, false).value();
  const auto start = reinterpret_cast<uintptr_t>(region->data());
  const auto is_it = [&](const AddressRange& range) { return range.start == start; };
  std::vector<AddressRange> ranges = RegionMemory::AllRanges();
  EXPECT_EQ(std::count_if(ranges.begin(), ranges.end(), is_it), 1);
  region.reset();
  ranges = RegionMemory::AllRanges();
  EXPECT_EQ(std::count_if(ranges.begin(), ranges.end(), is_it), 0);
  EXPECT_EQ(ranges.size(), before);
}

TEST(Region, ThatIsDiscardedGivesItsPagesBackWhileItsBufferIsHeld) {
  const Region region = RegionMemory::Allocate(1 << 20, false).value();
  std::fill_n(region->data(), region->byte_length(), std::byte{7});
  EXPECT_EQ(ResidencyOf(region->data(), region->byte_length(), SystemPageSize()).value().bytes,
            region->byte_length());
  region->Discard();
  EXPECT_TRUE(region->discarded());
  EXPECT_EQ(ResidencyOf(region->data(), region->byte_length(), SystemPageSize()).value().bytes, 0U);
  EXPECT_EQ(region->data()[0], std::byte{0});
}

}  // namespace
}  // namespace stillframe::test
