// Text files of the kernel are read completely and parsed, or reported as unreadable. Tested on our
// own files, on /proc, and with failing reads.
#include "base/small_file.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

TEST(SmallFile, IsReadWhole) {
  const TemporaryDirectory directory;
  const std::string path = directory.File("file");
  for (const size_t length : {0, 1, 16383, 16384, 16385, 100'000}) {
    const std::string text(length, 'x');
    WriteFile(path, text);
    EXPECT_EQ(ReadSmallFile(path.c_str()), text);
  }
  // Files in /proc have a size of zero.
  EXPECT_GT(ReadSmallFile("/proc/self/status").value_or("").size(), 100U);
}

TEST(SmallFile, IsReadFromItsStartAgainAndAgain) {
  MemoryFile file;
  WriteAt(file.fd(), "text", 4, 0);
  EXPECT_EQ(ReadSmallFile(file.fd()), "text");
  EXPECT_EQ(ReadSmallFile(file.fd()), "text");
}

TEST(SmallFile, ThatCannotBeReadIsNothing) {
  EXPECT_FALSE(ReadSmallFile("/nowhere").has_value());
  EXPECT_FALSE(ReadSmallFile("/").has_value());
  EXPECT_FALSE(ReadSmallFile(-1).has_value());
  const FaultScope faults;
  FaultScope::Fail("pread", 2, EIO);
  EXPECT_FALSE(ReadSmallFile("/proc/self/status").has_value());
  FaultScope::Fail("pread", 1, EINTR);
  EXPECT_TRUE(ReadSmallFile("/proc/self/status").has_value());
}

TEST(NumberAfter, FindsTheKeyAtTheStartOfALineOnly) {
  const std::string text = "NotVmRSS: 1 kB\nVmRSS:\t  42 kB\nmax 7\nlast 9";
  EXPECT_EQ(NumberAfter(text, "VmRSS:"), 42U);
  EXPECT_EQ(NumberAfter(text, "max "), 7U);
  EXPECT_EQ(NumberAfter(text, "last"), 9U);
  EXPECT_FALSE(NumberAfter(text, "RSS:").has_value());
  EXPECT_FALSE(NumberAfter("", "key").has_value());
}

TEST(NumberAfter, NeedsANumber) {
  EXPECT_FALSE(NumberAfter("limit max\n", "limit ").has_value());
  EXPECT_FALSE(NumberAfter("limit", "limit").has_value());
  EXPECT_EQ(NumberAfter("limit max\nlimit 5\n", "limit "), 5U);
  EXPECT_EQ(NumberAfter("n 18446744073709551615\n", "n "), ~uint64_t{0});
}

}  // namespace
}  // namespace stillframe::test
