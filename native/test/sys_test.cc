// Faults are injected into exactly the call that a test names, and without a plan nothing changes.
// Tested on the seam itself, in threads and in a forked child.
#include "base/sys.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include "base/mapping.h"
#include "base/result.h"
#include "base/scope_guard.h"
#include "base/unique_fd.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

int OpenNull() { return sys::Open(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0); }

class Faults : public ::testing::Test {
 protected:
  UniqueFd fd_{OpenNull()};
  FaultScope faults_;
  char byte_ = 0;
};

TEST_F(Faults, StrikeTheNthCallOnce) {
  FaultScope::Fail("write", 3, EIO);
  for (const int64_t expected : {1, 1, -EIO, 1, 1}) {
    EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), expected);
  }
  EXPECT_EQ(sys::CallCount(sys::Call::kWrite), 5U);
}

TEST_F(Faults, StrikeFromTheNthCallOnForEver) {
  FaultScope::Fail("write", 2, ENOSPC, true);
  for (const int64_t expected : {1, -ENOSPC, -ENOSPC, -ENOSPC}) {
    EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), expected);
  }
}

TEST_F(Faults, StrikeOnlyTheCallThatIsNamed) {
  FaultScope::Fail("write", 1, EIO, true);
  EXPECT_EQ(sys::Pwrite(fd_.get(), &byte_, 1, 0), 1);
  EXPECT_EQ(sys::Read(fd_.get(), &byte_, 1), 0);
}

TEST_F(Faults, OfSeveralCallsDoNotDisturbEachOther) {
  FaultScope::Fail("write", 1, EIO);
  FaultScope::Fail("read", 2, EAGAIN);
  EXPECT_EQ(sys::Read(fd_.get(), &byte_, 1), 0);
  EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), -EIO);
  EXPECT_EQ(sys::Read(fd_.get(), &byte_, 1), -EAGAIN);
}

TEST_F(Faults, AreCountedFromTheirInjection) {
  FaultScope::Fail("write", 2, EIO);
  EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), 1);
  FaultScope::Fail("write", 2, EIO);
  EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), 1);
  EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), -EIO);
}

TEST_F(Faults, AreGoneWhenCleared) {
  FaultScope::Fail("write", 1, EIO, true);
  sys::ClearFaults();
  EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), 1);
  EXPECT_EQ(sys::CallCount(sys::Call::kWrite), 0U) << "counted without a plan";
}

TEST_F(Faults, OfUnknownCallsAreRefused) {
  EXPECT_FALSE(sys::InjectFault("frobnicate", 1, EIO, false));
  EXPECT_FALSE(sys::InjectFault("", 1, EIO, false));
  EXPECT_FALSE(sys::InjectFault("writ", 1, EIO, false));
}

TEST_F(Faults, AreInheritedByAChildWhichCountsOn) {
  FaultScope::Fail("write", 3, EIO);
  EXPECT_EQ(sys::Write(fd_.get(), &byte_, 1), 1);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool good =
        sys::Write(fd_.get(), &byte_, 1) == 1 && sys::Write(fd_.get(), &byte_, 1) == -EIO;
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(sys::CallCount(sys::Call::kWrite), 1U) << "the child counts for itself";
}

TEST_F(Faults, OfMmapAreErrorsAndNoAddresses) {
  FaultScope::Fail("mmap", 1, ENOMEM);
  void* address = sys::Mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_TRUE(sys::IsError(address));
  EXPECT_EQ(reinterpret_cast<int64_t>(address), -ENOMEM);
  address = sys::Mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_FALSE(sys::IsError(address));
  EXPECT_EQ(sys::Munmap(address, 4096), 0);
}

TEST(Sys, EveryCallHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int call = 0; call < static_cast<int>(sys::Call::kCount); call++) {
    names.insert(sys::CallName(static_cast<sys::Call>(call)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(sys::Call::kCount));
  // The names are in the order of the enumerators: samples from far apart.
  EXPECT_STREQ(sys::CallName(sys::Call::kClone), "clone");
  EXPECT_STREQ(sys::CallName(sys::Call::kFsync), "fsync");
  EXPECT_STREQ(sys::CallName(sys::Call::kMmap), "mmap");
  EXPECT_STREQ(sys::CallName(sys::Call::kPwrite), "pwrite");
  EXPECT_STREQ(sys::CallName(sys::Call::kRenameat2), "renameat2");
  EXPECT_STREQ(sys::CallName(sys::Call::kUnlinkat), "unlinkat");
  EXPECT_STREQ(sys::CallName(sys::Call::kWrite), "write");
}

TEST(Sys, AnswersAreTheKernelsOwnAndErrnoIsLeftAlone) {
  errno = 123;
  EXPECT_EQ(sys::Open(AT_FDCWD, "/nowhere/at/all", O_RDONLY, 0), -ENOENT);
  EXPECT_EQ(sys::Close(-1), -EBADF);
  char byte = 0;
  EXPECT_EQ(sys::Read(-1, &byte, 1), -EBADF);
  EXPECT_EQ(sys::Pread(-1, &byte, 1, 0), -EBADF);
  EXPECT_EQ(errno, 123);
}

TEST(Sys, OffsetsBeyond32BitsArrive) {
  MemoryFile file;
  const char byte = 'x';
  const uint64_t far = (uint64_t{5} << 40) + 3;
  EXPECT_EQ(sys::Pwrite(file.fd(), &byte, 1, far), 1);
  struct stat about {};
  EXPECT_EQ(sys::Fstat(file.fd(), &about), 0);
  EXPECT_EQ(about.st_size, static_cast<off_t>(far + 1));
  EXPECT_EQ(sys::Lseek(file.fd(), 0, SEEK_DATA), static_cast<int64_t>(RoundDown(far, kPageSize)));
  char found = 0;
  EXPECT_EQ(sys::Pread(file.fd(), &found, 1, far), 1);
  EXPECT_EQ(found, 'x');
}

TEST(Result, HoldsAValueOrAFailure) {
  Result<int> good = 5;
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good.value(), 5);
  Result<int> bad = SystemFailure("write", EIO, "cannot");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.failure().code, FailureCode::kIo);
  EXPECT_EQ(bad.failure().offset, -1);
}

TEST(Result, AFullDiskHasACodeOfItsOwn) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    EXPECT_EQ(SystemFailure("pwrite", error, "").code, FailureCode::kNoSpace);
  }
  for (const int error : {EIO, EACCES, ENOMEM, EROFS}) {
    EXPECT_EQ(SystemFailure("pwrite", error, "").code, FailureCode::kIo);
  }
}

TEST(Result, EveryCodeHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(FailureCode::kOutOfRange); code++) {
    names.insert(FailureName(static_cast<FailureCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(FailureCode::kOutOfRange) + 1);
}

TEST(UniqueFd, ClosesWhatItOwnsAndOnlyThat) {
  const auto is_open = [](int fd) { return fcntl(fd, F_GETFD) >= 0; };
  int first = -1;
  {
    UniqueFd owner(OpenNull());
    first = owner.get();
    UniqueFd moved(std::move(owner));
    EXPECT_FALSE(owner.valid());  // NOLINT: that is what is being tested
    EXPECT_TRUE(is_open(first));
    const int second = OpenNull();
    moved.Reset(second);
    EXPECT_FALSE(is_open(first));
    first = second;
    UniqueFd& same = moved;
    moved = std::move(same);  // NOLINT: to itself
    EXPECT_TRUE(is_open(first));
  }
  EXPECT_FALSE(is_open(first));
}

TEST(ScopeGuard, RunsUnlessDismissed) {
  int runs = 0;
  {
    const ScopeGuard guard([&] { runs++; });
  }
  EXPECT_EQ(runs, 1);
  {
    ScopeGuard guard([&] { runs++; });
    guard.Dismiss();
  }
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace stillframe::test
