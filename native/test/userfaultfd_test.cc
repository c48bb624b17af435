// EAGAIN and EINTR from userfaultfd are not failures: neither ends a freeze, a lift or the thread
// that reads faults. Tested by making the next call return them, and then every call.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "freeze/userfaultfd.h"
#include "memory/page.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr size_t kBytes = size_t{1} << 20;

struct Case {
  Variant variant;
  int error_number;
};

class Userfaultfd : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string why = Missing(GetParam().variant); !why.empty()) GTEST_SKIP() << why;
#if defined(__SANITIZE_THREAD__)
    if (GetParam().variant == Variant::kUserfaultfdSignal) {
      GTEST_SKIP()
          << "TSan has a thread of its own that blocks all signals, which is a reason to refuse";
    }
#endif
    region_ = TouchedRegion(kBytes, false);
    capture_ = std::make_unique<DirectCapture>(GetParam().variant, Regions{region_}, kBytes);
    ASSERT_TRUE(capture_->Prepare().ok());
  }
  void WriteAll() {
    for (size_t at = 0; at < kBytes; at += SystemPageSize()) region_->data()[at] = std::byte{2};
  }
  void ExpectSaved() {
    ASSERT_TRUE(capture_->Finish().ok());
    std::vector<std::byte> saved(kBytes);
    capture_->ReadSaved(0, 0, saved.data(), saved.size());
    EXPECT_EQ(memcmp(saved.data(), std::vector<std::byte>(kBytes, std::byte{1}).data(), kBytes), 0);
  }

  const Watchdog watchdog_{std::chrono::seconds(240)};
  std::shared_ptr<RegionMemory> region_;
  std::unique_ptr<DirectCapture> capture_;
  FaultScope faults_;
};

TEST_P(Userfaultfd, AFreezeThatIsToBeTriedAgainIs) {
  FaultScope::Fail("ioctl", 1, GetParam().error_number);
  ASSERT_TRUE(capture_->Freeze().ok());
  WriteAll();
  ExpectSaved();
}

TEST_P(Userfaultfd, FaultsThatAreToBeReadAgainAre) {
  FaultScope::Fail("read", 1, GetParam().error_number);
  ASSERT_TRUE(capture_->Freeze().ok());
  WriteAll();
  ExpectSaved();
}

TEST_P(Userfaultfd, WhatIsToBeTriedAgainForEverIsAFailureAndNoLoop) {
  FaultScope::Fail("ioctl", 1, GetParam().error_number, true);
  EXPECT_FALSE(capture_->Freeze().ok());
  WriteAll();
}

// As on Linux 6.1, for a user without privileges.
TEST(UserfaultfdThread, IsNotPromisedForARightThatWouldBeOfNoUse) {
  const FaultScope faults;
  FaultScope::Fail("userfaultfd", 1, EPERM);
  FaultScope::Fail("openat", 1, EACCES);
  FaultScope::Fail("ioctl", 1, EINVAL, true);
  const Feature feature = stillframe::Userfaultfd::Probe(FaultVariant::kThread);
  EXPECT_FALSE(feature.available);
  EXPECT_NE(feature.reason.find("cannot protect never-touched pages"), std::string::npos)
      << feature.reason;
}

TEST(UserfaultfdThread, ThatCannotReadFaultsGivesUpSoThatWritesGoOn) {
  if (const std::string why = Missing(Variant::kUserfaultfdThread); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const Watchdog watchdog(std::chrono::seconds(240));
  const FaultScope faults;
  const auto region = TouchedRegion(kBytes, false);
  DirectCapture capture(Variant::kUserfaultfdThread, {region}, kBytes);
  ASSERT_TRUE(capture.Prepare().ok());
  FaultScope::Fail("read", 1, EIO, true);
  ASSERT_TRUE(capture.Freeze().ok());
  for (size_t at = 0; at < kBytes; at += SystemPageSize()) region->data()[at] = std::byte{2};
  // Either the thread let a write through when it gave up, or the saver came first: both can
  // happen.
  const Status finished = capture.Finish();
  if (!finished.ok()) {
    EXPECT_EQ(Status(finished).failure().error_number, EIO);
  }
}

// Neither a lift nor the end of the registration works, so only closing the descriptor helps.
class UserfaultfdThatRefuses : public ::testing::TestWithParam<Variant> {};

TEST_P(UserfaultfdThatRefuses, IsGivenUpBeforeTheCaptureEndsSoThatWritesGoOn) {
  if (const std::string why = Missing(GetParam()); !why.empty()) GTEST_SKIP() << why;
#if defined(__SANITIZE_THREAD__)
  if (GetParam() == Variant::kUserfaultfdSignal) {
    GTEST_SKIP() << "TSan has a thread of its own that blocks all signals";
  }
#endif
  const Watchdog watchdog(std::chrono::seconds(240));
  const FaultScope faults;
  const auto region = TouchedRegion(kBytes, false);
  DirectCapture capture(GetParam(), {region}, kBytes);
  ASSERT_TRUE(capture.Prepare().ok());
  ASSERT_TRUE(capture.Freeze().ok());
  FaultScope::Fail("ioctl", 1, ENOMEM, true);
  for (size_t at = 0; at < kBytes; at += SystemPageSize()) region->data()[at] = std::byte{2};
  // The saver may have been done with everything before the first refusal.
  const Status finished = capture.Finish();
  if (!finished.ok()) {
    EXPECT_EQ(Status(finished).failure().error_number, ENOMEM);
  }
}

INSTANTIATE_TEST_SUITE_P(All, UserfaultfdThatRefuses,
                         ::testing::Values(Variant::kUserfaultfdThread,
                                           Variant::kUserfaultfdSignal));

INSTANTIATE_TEST_SUITE_P(Again, Userfaultfd,
                         ::testing::Values(Case{Variant::kUserfaultfdThread, EAGAIN},
                                           Case{Variant::kUserfaultfdThread, EINTR},
                                           Case{Variant::kUserfaultfdSignal, EAGAIN},
                                           Case{Variant::kUserfaultfdSignal, EINTR}));

}  // namespace
}  // namespace stillframe::test
