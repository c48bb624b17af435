// Descriptors that can be the source of direct reads are found before a freeze, and no others.
// Proved with files, pipes, an io_uring and descriptors of this library.
#include "freeze/direct_reads.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/unique_fd.h"
#include "image/direct_reader.h"
#include "memory/region.h"
#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

class DirectReads : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/var/tmp/stillframe-direct-XXXXXX";
    const UniqueFd made(mkostemp(path, O_CLOEXEC));
    path_ = path;
    const UniqueFd tried(Open(O_RDONLY | O_DIRECT));
    if (!tried.valid()) GTEST_SKIP() << "the file system of /var/tmp does not take O_DIRECT";
  }
  void TearDown() override { unlink(path_.c_str()); }
  int Open(int flags) const { return open(path_.c_str(), flags | O_CLOEXEC); }

  std::string path_;
};

TEST_F(DirectReads, NothingIsFoundInOrdinaryDescriptors) {
  const UniqueFd buffered(Open(O_RDWR));
  int ends[2] = {-1, -1};
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_DIRECT), 0);  // on a pipe, this flag keeps packets apart
  const UniqueFd out(ends[0]);
  const UniqueFd in(ends[1]);
  EXPECT_EQ(FindDirectReads(), "");
}

TEST_F(DirectReads, AFileThatIsOpenForDirectReadsIsNamed) {
  for (const int access : {O_RDONLY, O_RDWR}) {
    const UniqueFd direct(Open(access | O_DIRECT | O_NONBLOCK));
    const std::string found = FindDirectReads();
    EXPECT_NE(found.find("descriptor " + std::to_string(direct.get())), std::string::npos) << found;
    EXPECT_NE(found.find(path_), std::string::npos) << found;
  }
  EXPECT_EQ(FindDirectReads(), "");
}

TEST_F(DirectReads, AFileThatIsOnlyWrittenIsNone) {
  const UniqueFd direct(Open(O_WRONLY | O_DIRECT));
  EXPECT_EQ(FindDirectReads(), "");
}

TEST_F(DirectReads, OursArePassedByWhileTheyAreOpen) {
  const int fd = Open(O_RDONLY | O_DIRECT);
  {
    DirectReader first(fd);
    DirectReader ours(std::move(first));
    EXPECT_EQ(FindDirectReads(), "");
  }
  const UniqueFd somebody(Open(O_RDONLY | O_DIRECT));
  ASSERT_EQ(somebody.get(), fd);  // open() uses the lowest free number
  EXPECT_NE(FindDirectReads(), "");
}

TEST_F(DirectReads, ADescriptorWithAHighNumberIsFound) {
  DirectReader low(Open(O_RDONLY | O_DIRECT));  // one of ours, so that it is not the one found
  const UniqueFd high(fcntl(low.get(), F_DUPFD_CLOEXEC, 900));
  if (!high.valid()) GTEST_SKIP() << "no descriptor above 900 is allowed here (ulimit -n)";
  const std::string found = FindDirectReads();
  EXPECT_NE(found.find("descriptor " + std::to_string(high.get())), std::string::npos) << found;
}

TEST_F(DirectReads, ARingIsFoundOnceItHasRegisteredBuffers) {
  io_uring_params parameters{};
  const UniqueFd ring(static_cast<int>(syscall(SYS_io_uring_setup, 4, &parameters)));
  if (!ring.valid()) GTEST_SKIP() << "io_uring is not to be had here";
  EXPECT_EQ(FindDirectReads(), "");
  const auto region = TouchedRegion(1 << 20, false);
  const iovec buffer{region->data(), region->byte_length()};
  ASSERT_EQ(syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_BUFFERS, &buffer, 1), 0);
  EXPECT_NE(FindDirectReads().find("io_uring"), std::string::npos);
}

}  // namespace
}  // namespace stillframe::test
