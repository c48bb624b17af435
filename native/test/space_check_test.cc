// The check counts exactly what the file will take: it stops no capture that would have fitted,
// neither because of a byte nor because of a lack of memory for looking at the pages. Tested with
// sources for which the disk has room to the byte, and with sources for which it never has.
#include "capture/space_check.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

// An engine that can only show pages.
class ShowsPages final : public Engine {
 public:
  explicit ShowsPages(const std::vector<Bytes>& sources) : sources_(sources) {}
  Status Prepare(const FreezePlan&) override { return Success{}; }
  Status Freeze() override { return Success{}; }
  Status Attach() override { return Success{}; }
  int wait_fd() const override { return -1; }
  Result<CopyCost> Cost() override { return CopyCost{}; }
  void Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) override {
    memcpy(out, sources_[source].data() + offset, length);
  }
  void Stop() override {}
  Status Collect() override { return Success{}; }
  int pid() const override { return 0; }

 private:
  const std::vector<Bytes>& sources_;
};

class SpaceCheckTest : public ::testing::Test {
 protected:
  // The answer of the check for these sources if the disk has exactly `room` bytes for them.
  Status CheckWithRoomFor(uint64_t room, const std::vector<Bytes>& contents) {
    ShowsPages engine(contents);
    std::vector<FreezeSource> sources;
    sources.reserve(contents.size());
    for (const Bytes& bytes : contents) sources.push_back({nullptr, bytes.size(), false});
    for (int tries = 0; tries < 1000; tries++) {
      const std::optional<uint64_t> free_bytes = FreeBytes(fd_.get());
      if (!free_bytes || *free_bytes < room) break;
      SpaceCheck check(fd_.get(), sources, *free_bytes - room);
      // Other processes write to this disk, too.
      if (FreeBytes(fd_.get()) != free_bytes) continue;
      EXPECT_FALSE(check.finished());
      Status answer = Success{};
      while (answer.ok() && !check.finished()) answer = check.Step(&engine);
      return answer;
    }
    ADD_FAILURE() << "what is free on this disk is never the same for a moment";
    return Success{};
  }

  TemporaryDirectory directory_;
  UniqueFd fd_{open(directory_.File("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  FaultScope faults_;
};

TEST_F(SpaceCheckTest, CountsPagesThatAreNotZeroAndNoOthers) {
  const Bytes full = Pattern(size_t{1} << 20, 1);
  // The second source is examined first; its remains must not count for the first, which ends
  // within a page.
  EXPECT_TRUE(CheckWithRoomFor(full.size(), {Bytes(100), full}).ok());
  Bytes last_byte(100);
  last_byte.back() = std::byte{1};
  Status refused = CheckWithRoomFor(full.size(), {last_byte, full});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.failure().error_number, ENOSPC);
}

TEST_F(SpaceCheckTest, WithoutMemoryToLookWithItIsLeftToTheWrites) {
  const std::vector<FreezeSource> endless = {{nullptr, uint64_t{1} << 56, false}};
  FaultScope::Fail("mmap", 1, ENOMEM);
  SpaceCheck check(fd_.get(), endless, 0);
  EXPECT_TRUE(check.finished());
}

}  // namespace
}  // namespace stillframe::test
