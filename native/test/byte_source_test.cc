// Promise I6 holds wherever the bytes of an image are. Proved on images in memory, which a reader
// accesses through the same interface as a file.

#include "image/byte_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "image/image_file.h"
#include "image/read_failure.h"
#include "restore/restore.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(Bytes bytes) : bytes_(std::move(bytes)) {}
  uint64_t length() const override { return bytes_.size(); }
  uint64_t allocated_bytes() const override { return bytes_.size(); }
  Status Read(std::byte* out, uint64_t length, uint64_t offset,
              const std::string& section) const override {
    if (offset + length > bytes_.size()) return Corrupt(bytes_.size(), section, "it ends here");
    memcpy(out, bytes_.data() + offset, length);
    return Success{};
  }
  Status ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                  const std::string& section) const override {
    return Read(out, length, offset, section);
  }
  uint64_t NextHole(uint64_t /*offset*/, uint64_t end) const override { return end; }
  uint64_t NextData(uint64_t offset, uint64_t end) const override { return std::min(offset, end); }

 private:
  Bytes bytes_;
};

Bytes SampleOf(Layout layout) {
  const MemoryFile file;
  WriteImage(file.fd(), PackedSampleSections(), kSampleMetadata, layout);
  return ReadAll(file.fd());
}

Result<ImageFile> OpenBytes(Bytes bytes) {
  return ImageFile::Open(std::make_unique<MemorySource>(std::move(bytes)));
}

TEST(ByteSource, AnImageNeedNotBeAFile) {
  for (const Layout layout : {Layout::kFlat, Layout::kPacked}) {
    Result<ImageFile> image = OpenBytes(SampleOf(layout));
    ASSERT_TRUE(image.ok()) << image.failure().message;
    ReadControl control;
    EXPECT_TRUE(image.value().Verify(10, &control).value().empty());
    Result<RestoredFile> restored = Restore(image.value(), {}, &control);
    ASSERT_TRUE(restored.ok()) << restored.failure().message;
    // Only files can be mapped.
    EXPECT_FALSE(restored.value().mapped);
    const std::vector<SampleSection> sections = PackedSampleSections();
    ASSERT_EQ(restored.value().regions.size(), sections.size());
    for (size_t i = 0; i < sections.size(); i++) {
      const Bytes& bytes = sections[i].bytes;
      const RegionMemory& memory = *restored.value().regions[i].memory;
      ASSERT_EQ(memory.byte_length(), bytes.size());
      EXPECT_EQ(memcmp(memory.data(), bytes.data(), bytes.size()), 0) << sections[i].name;
    }
  }
}

TEST(ByteSource, DamageIsFoundOutsideOfFilesToo) {
  for (const Layout layout : {Layout::kFlat, Layout::kPacked}) {
    Bytes bytes = SampleOf(layout);
    bytes[kPartAlignment + 5] ^= std::byte{1};
    Result<ImageFile> image = OpenBytes(bytes);
    ASSERT_TRUE(image.ok());
    ReadControl control;
    const auto problems = image.value().Verify(10, &control).value();
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_EQ(problems[0].section, "text");
    // Without its trailer it is not an image.
    bytes.resize(bytes.size() - kPageSize);
    EXPECT_EQ(OpenBytes(bytes).failure().code, FailureCode::kCorrupt);
  }
}

}  // namespace
}  // namespace stillframe::test
