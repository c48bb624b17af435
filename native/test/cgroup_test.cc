// The memory limits that apply to a capture are found, whichever version of cgroups they come from.
// Proved by giving a child process another /proc/self/cgroup and mountinfo (bind mounts in a
// namespace of its own), which lead to a directory with limits made up for the test.
#include "memory/cgroup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>

#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr int kCannot = 78;

class Cgroup : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    const std::string path = directory_.File(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    WriteFile(path, text);
  }

  // Expects that `expectation` holds for what a process with this membership reads.
  void Expect(const std::string& membership,
              const std::function<bool(const MemoryCgroup&)>& expectation) {
    Write("membership", membership);
    Write("mountinfo",
          "21 1 0:5 / /proc rw - proc proc rw\n"
          "30 1 0:6 / " +
              directory_.File("v2") +
              " rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
              "31 1 0:7 / " +
              directory_.File("cpu") +
              " rw - cgroup cgroup rw,cpu\n"
              "32 1 0:8 / " +
              directory_.File("v1") + " rw - cgroup cgroup rw,memory\n");
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto show = [&](const char* name, const char* as) {
        return mount(directory_.File(name).c_str(), as, nullptr, MS_BIND, nullptr) == 0;
      };
      const bool ready = unshare(CLONE_NEWNS) == 0 &&
                         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         show("membership", "/proc/self/cgroup") &&
                         show("mountinfo", "/proc/self/mountinfo");
      if (!ready) _exit(kCannot);
      _exit(expectation(ReadMemoryCgroup()) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == kCannot) GTEST_SKIP() << "needs the right to mount";
    EXPECT_EQ(WEXITSTATUS(status), 0) << membership;
  }

  TemporaryDirectory directory_;
};

TEST_F(Cgroup, Version2TakesTheTightestLimitOfAllAncestors) {
  Write("v2/a/b/memory.max", "max\n");
  Write("v2/a/b/memory.current", "500\n");
  Write("v2/a/memory.max", "1000\n");
  Write("v2/a/memory.current", "600\n");
  Write("v2/memory.max", "5000\n");
  Write("v2/memory.current", "4900\n");
  Expect("0::/a/b\n", [](const MemoryCgroup& group) {
    return group.limit == 1000U && group.headroom == 100U && !group.kills_group;
  });
}

TEST_F(Cgroup, PageCacheThatCanBeDroppedIsFree) {
  Write("v2/a/memory.max", "1000\n");
  Write("v2/a/memory.current", "900\n");
  Write("v2/a/memory.stat", "anon 300\nfile 600\ninactive_file 400\nactive_file 200\n");
  Expect("0::/a\n", [](const MemoryCgroup& group) { return group.headroom == 500U; });
}

TEST_F(Cgroup, UsageAboveTheLimitLeavesNothing) {
  Write("v2/a/memory.max", "1000\n");
  Write("v2/a/memory.current", "1100\n");
  Write("v2/a/memory.stat", "inactive_file 50\n");
  Expect("0::/a\n",
         [](const MemoryCgroup& group) { return group.headroom == 0U && group.limit == 1000U; });
}

TEST_F(Cgroup, KillingTheGroupIsSeenAtAnyAncestor) {
  Write("v2/a/b/memory.oom.group", "0\n");
  Write("v2/a/memory.oom.group", "1\n");
  Expect("0::/a/b\n", [](const MemoryCgroup& group) { return group.kills_group && !group.limit; });
}

TEST_F(Cgroup, Version1SaysItselfWhatIsInForce) {
  Write("v1/a/memory.stat",
        "inactive_file 1\nhierarchical_memory_limit 4096\ntotal_inactive_file 100\n");
  Write("v1/a/memory.usage_in_bytes", "1000\n");
  const auto expectation = [](const MemoryCgroup& group) {
    return group.limit == 4096U && group.headroom == 4096U - 900U;
  };
  Expect("3:cpu,cpuacct:/other\n2:memory:/a\n", expectation);
  Expect("2:hugetlb,memory:/a\n0::/\n", expectation);
}

TEST_F(Cgroup, Version1WithoutALimitHasNone) {
  Write("v1/a/memory.stat", "hierarchical_memory_limit 9223372036854771712\n");
  Write("v1/a/memory.usage_in_bytes", "1000\n");
  Expect("2:memory:/a\n",
         [](const MemoryCgroup& group) { return !group.limit && !group.headroom; });
}

TEST_F(Cgroup, OfBothVersionsTheTighterCounts) {
  Write("v2/a/memory.max", "5000\n");
  Write("v2/a/memory.current", "1000\n");
  Write("v1/a/memory.stat", "hierarchical_memory_limit 3000\n");
  Write("v1/a/memory.usage_in_bytes", "1000\n");
  Expect("2:memory:/a\n0::/a\n",
         [](const MemoryCgroup& group) { return group.limit == 3000U && group.headroom == 2000U; });
}

TEST_F(Cgroup, WhatIsMissingOrNoSenseIsNoLimit) {
  const auto none = [](const MemoryCgroup& group) {
    return !group.limit && !group.headroom && !group.kills_group;
  };
  Expect("", none);
  Expect("garbage\n:\n::\n", none);
  Expect("0::/not/there\n", none);
}

TEST(ReadMemoryCgroup, WithoutProcThereIsNoLimit) {
  const FaultScope faults;
  FaultScope::Fail("openat", 1, EACCES, true);
  const MemoryCgroup group = ReadMemoryCgroup();
  EXPECT_FALSE(group.limit.has_value());
  EXPECT_FALSE(group.headroom.has_value());
}

}  // namespace
}  // namespace stillframe::test
