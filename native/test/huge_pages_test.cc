// After a capture, only memory that is resident from end to end is collapsed into huge pages, so
// that this takes no additional memory. Proved on regions that are split by hand, by what the
// kernel then reports about their pages.
#include "memory/huge_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/small_file.h"
#include "base/unique_fd.h"
#include "memory/page.h"
#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

constexpr size_t kHugePages = 8;

class HugePages : public ::testing::Test {
 protected:
  void SetUp() override {
    if (HugePagesOff()) GTEST_SKIP() << "transparent huge pages are off";
    region_ = TouchedRegion(kHugePages * kHugePageSize, true);
    if (Kib("AnonHugePages:") == 0) GTEST_SKIP() << "the kernel has no huge page to give";
  }
  void CollapseAndWait() {
    CollapseInBackground({region_});
    while (!region_->TakeCollapse()) sched_yield();
    region_->GiveCollapse();
  }
  // A field of smaps, for the mapping in which the region begins.
  uint64_t Kib(const char* field) const {
    const std::string smaps = ReadSmallFile("/proc/self/smaps").value_or("");
    char start[32];
    snprintf(start, sizeof start, "%" PRIxPTR "-", reinterpret_cast<uintptr_t>(region_->data()));
    const size_t at = smaps.find(start);
    if (at == std::string::npos) return 0;
    return NumberAfter(smaps.substr(at), field).value_or(0);
  }

  const Watchdog watchdog_{std::chrono::seconds(240)};
  std::shared_ptr<RegionMemory> region_;
};

TEST_F(HugePages, OfWhichAWriteHasMadeSmallOnesArePutTogetherAgain) {
  const uint64_t before = Kib("AnonHugePages:");
  for (size_t i = 0; i < kHugePages; i++) {
    // Changes the protection of one page and restores it: the mapping is whole again, the huge page
    // is not.
    std::byte* page = region_->data() + i * kHugePageSize;
    ASSERT_EQ(mprotect(page, SystemPageSize(), PROT_READ), 0);
    ASSERT_EQ(mprotect(page, SystemPageSize(), PROT_READ | PROT_WRITE), 0);
  }
  ASSERT_LT(Kib("AnonHugePages:"), before);
  CollapseAndWait();
  EXPECT_EQ(Kib("AnonHugePages:"), before);
}

TEST_F(HugePages, AreNotMadeOfWhatIsThereInPart) {
  volatile std::byte read{};
  for (size_t i = 0; i < kHugePages; i++) {
    std::byte* start = region_->data() + i * kHugePageSize;
    ASSERT_EQ(madvise(start + SystemPageSize(), kHugePageSize - SystemPageSize(), MADV_DONTNEED),
              0);
    // As savers do: for the kernel all of it is present then, in pages of zeros.
    for (size_t at = 0; at < kHugePageSize; at += SystemPageSize()) read = start[at];
  }
  (void)read;
  const uint64_t before = Kib("Anonymous:");
  CollapseAndWait();
  EXPECT_EQ(Kib("Anonymous:"), before);
}

}  // namespace
}  // namespace stillframe::test
