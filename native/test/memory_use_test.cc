// The figures that a watch over memory looks at are those of the kernel. Proved on this process.
#include "memory/memory_use.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "base/mapping.h"
#include "memory/cgroup.h"
#include "memory/statm.h"

namespace stillframe::test {
namespace {

TEST(MemoryUse, GrowsWithWhatIsTouched) {
  constexpr size_t kBytes = size_t{64} << 20;
  const uint64_t before = ResidentBytes().value_or(0);
  EXPECT_GT(before, uint64_t{1} << 20);
  Result<Mapping> memory = Mapping::Anonymous(kBytes, MAP_PRIVATE, "a test");
  ASSERT_TRUE(memory.ok());
  memset(memory.value().data(), 1, kBytes);
  EXPECT_GE(ResidentBytes().value_or(0), before + kBytes / 2);
}

TEST(MemoryUse, IsReadFromAWholeLineOfPagesAndNothingElse) {
  const uint64_t page = SystemPageSize();
  const auto parse = [](std::string_view text) { return ParseStatm(text.data(), text.size()); };
  const auto statm = parse("300 20 5 1 0 7 0\n");
  ASSERT_TRUE(statm);
  EXPECT_EQ(statm->size, 300 * page);
  EXPECT_EQ(statm->resident, 20 * page);
  EXPECT_EQ(statm->anonymous(), 15 * page);
  // In a reading during a change, more may be shared than is resident.
  EXPECT_EQ(parse("300 20 25 1 0 7 0\n")->anonymous(), 0U);
  for (const char* text : {"", "300", "300 20", "300 20 5", "300 x 5 1", "-1 20 5 1"}) {
    EXPECT_FALSE(parse(text)) << text;
  }
}

TEST(MemoryUse, OfTheCgroupIsToldWhereItHasALimit) {
  const auto percent = CgroupPercent();
  EXPECT_EQ(percent.has_value(), ReadMemoryCgroup().limit.has_value());
  if (percent) {
    EXPECT_GT(*percent, 0);
    EXPECT_LE(*percent, 100);
  }
}

TEST(MemoryUse, PressureIsAPercentage) {
  const auto pressure = MemoryPressure();
  if (!pressure) GTEST_SKIP() << "this kernel does not tell (PSI)";
  EXPECT_GE(*pressure, 0);
  EXPECT_LE(*pressure, 100);
}

}  // namespace
}  // namespace stillframe::test
