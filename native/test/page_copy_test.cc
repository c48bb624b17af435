// A copied page is the page, whatever the alignment of its source, and what is said of it holds.
// Tested with pages of data, of zeros, and with a single byte at either end.
#include "image/page_copy.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/mapping.h"
#include "image/page_sums.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr size_t kPages = 5;

class PageCopy : public ::testing::Test {
 protected:
  PageCopy() : to_(Mapping::Anonymous(kPages * kPageSize, MAP_PRIVATE, "a copy")) {}

  std::byte* to() { return to_.value().data(); }
  // Copies the pages and compares the copy, and what is said of each page, with `expected`, which
  // consists of whole pages.
  void ExpectCopy(const std::byte* from, uint64_t length, const Bytes& expected) {
    memset(to(), 0, expected.size());
    std::vector<CopiedPage> pages(expected.size() / kPageSize);
    CopyPages(from, length, to(), pages.data());
    EXPECT_EQ(memcmp(to(), expected.data(), expected.size()), 0);
    for (size_t page = 0; page < pages.size(); page++) {
      const std::byte* bytes = expected.data() + page * kPageSize;
      const bool zero = std::all_of(bytes, bytes + kPageSize,
                                    [](std::byte byte) { return byte == std::byte{0}; });
      EXPECT_EQ(pages[page].zero, zero) << page;
      EXPECT_EQ(pages[page].sum, zero ? (PageSum{0, 0}) : SumOfPage(bytes)) << page;
    }
  }

 private:
  Result<Mapping> to_;
};

// One page of data, one of zeros, one with a first and one with a last byte, one of data.
Bytes Mixture() {
  Bytes bytes = Pattern(kPages * kPageSize, 7);
  std::fill_n(bytes.begin() + kPageSize, 3 * kPageSize, std::byte{0});
  bytes[2 * kPageSize] = std::byte{1};
  bytes[4 * kPageSize - 1] = std::byte{1};
  return bytes;
}

TEST_F(PageCopy, IsExactForEveryAlignmentOfItsSource) {
  const Bytes bytes = Mixture();
  for (size_t shift = 0; shift < 64; shift++) {
    Bytes shifted(bytes.size() + shift);
    std::copy(bytes.begin(), bytes.end(), shifted.begin() + static_cast<int64_t>(shift));
    ExpectCopy(shifted.data() + shift, bytes.size(), bytes);
  }
}

TEST_F(PageCopy, HasZerosBehindALastPageThatIsNotWhole) {
  const Bytes bytes = Mixture();
  for (const size_t length : {size_t{1}, kPageSize - 1, kPageSize + 1, 2 * kPageSize + 1,
                              4 * kPageSize - 1, 4 * kPageSize + 17}) {
    Bytes expected = bytes;
    std::fill(expected.begin() + static_cast<int64_t>(length), expected.end(), std::byte{0});
    expected.resize(RoundUp(length, kPageSize));
    ExpectCopy(bytes.data(), length, expected);
  }
}

}  // namespace
}  // namespace stillframe::test
