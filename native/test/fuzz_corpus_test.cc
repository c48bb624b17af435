// Every build reads the inputs that the fuzzer found worth keeping, and a seed for each
// part of the format, without a fault. Proved by replaying native/test/corpus/ through the
// entry point of the fuzzer.
//
// If STILLFRAME_WRITE_CORPUS is set to a directory, the seeds are written there
// (scripts/fuzz.sh does that).
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "image/image_file.h"
#include "test/image_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size);

namespace stillframe::test {
namespace {

// An image in the format of the fuzzer (fuzz_image_file.cc).
std::string Seed(const EditableImage& image, uint8_t flags) {
  std::string tail;
  tail.append(reinterpret_cast<const char*>(image.index.data()),
              image.index.size() * sizeof(BlockEntry));
  tail.append(reinterpret_cast<const char*>(image.sums.data()),
              image.sums.size() * sizeof(PageSum));
  tail.append(reinterpret_cast<const char*>(image.records.data()),
              image.records.size() * sizeof(SectionRecord));
  tail += image.names + image.metadata;
  const auto tail_length = static_cast<uint16_t>(tail.size());
  std::string seed(1, static_cast<char>(flags));
  seed.append(reinterpret_cast<const char*>(&image.header), sizeof image.header);
  seed.append(reinterpret_cast<const char*>(&image.trailer), sizeof image.trailer);
  seed.append(reinterpret_cast<const char*>(&tail_length), sizeof tail_length);
  seed += tail;
  // Only up to the last byte that is not zero.
  const auto data = image.data.begin() + static_cast<int64_t>(kPartAlignment);
  size_t used = static_cast<size_t>(image.data.end() - data);
  while (used > 0 && data[static_cast<int64_t>(used) - 1] == std::byte{0}) used--;
  seed.append(reinterpret_cast<const char*>(&*image.data.begin()) + kPartAlignment, used);
  return seed;
}

EditableImage Image(const std::vector<SampleSection>& sections, const std::string& metadata,
                    Layout layout = Layout::kFlat) {
  MemoryFile file;
  WriteImage(file.fd(), sections, metadata, layout);
  return EditableImage(ReadAll(file.fd()));
}

std::vector<std::string> Seeds() {
  Bytes two_pages(3 * kPageSize);
  two_pages[0] = two_pages[2 * kPageSize + 5] = std::byte{7};
  const EditableImage small = Image({{"a", two_pages}}, "");
  const EditableImage zeros = Image({{"zeros", Bytes(5 * kBlockSize + 1)}, {"empty", {}}}, "[1]");
  const EditableImage many =
      Image({{"a", {}}, {"b", {}}, {"\xc3\xa9", {}}, {"d", Bytes(1)}}, "{\"a\":1}");
  // Small files, so that the fuzzer reaches the frames: one with a frame of a page, and one
  // with blocks of all kinds.
  const EditableImage frame = Image({{"a", two_pages}}, "", Layout::kPacked);
  const EditableImage packed = Image(PackedSampleSections(), "", Layout::kPacked);
  return {Seed(small, 0),  Seed(zeros, 0), Seed(many, 0),   Seed(small, 32),
          Seed(small, 15), Seed(frame, 0), Seed(packed, 0), Seed(packed, 8)};
}

TEST(FuzzCorpus, EverySeedIsAnImageThatIsRead) {
  for (const std::string& seed : Seeds()) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(seed.data()), seed.size());
  }
  const char* directory = getenv("STILLFRAME_WRITE_CORPUS");
  if (directory == nullptr) return;
  int number = 0;
  for (const std::string& seed : Seeds()) {
    WriteFile(std::string(directory) + "/seed-" + std::to_string(number++), seed);
  }
}

TEST(FuzzCorpus, IsReadWithoutAFault) {
  const std::filesystem::path directory = std::filesystem::path(__FILE__).parent_path() / "corpus";
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const Bytes input = ReadAll(entry.path().string());
    SCOPED_TRACE(entry.path().string());
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    inputs++;
  }
  EXPECT_GE(inputs, 10);
}

TEST(FuzzCorpus, TruncatedInputsAreInputs) {
  const std::string seed = Seeds()[2];
  for (size_t length = 0; length < seed.size(); length++) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(seed.data()), length);
  }
}

}  // namespace
}  // namespace stillframe::test
