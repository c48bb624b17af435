// A payload that readValues() could not read back is refused before it is written, and no payload,
// however crafted, misleads the scan. Tested with handwritten payloads, some of them cut off at
// each byte and some nested a million times.
#include "heap/payload_scan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace stillframe::test {
namespace {

static_assert(kSharedView == 0x20, "as in the payloads below");

using Payload = std::vector<uint8_t>;

// Prepends the version of the format.
Payload Of(const std::string& text) {
  const std::string whole = "\xff\x0f" + text;
  return Payload(whole.begin(), whole.end());
}

PayloadShape Scanned(const Payload& payload, bool cyclic_errors = true) {
  return ScanPayload(payload.data(), payload.size(), cyclic_errors);
}

const std::string kNul(1, '\0');
// { a: [ 1, 'é' ], b: new Map([[/x/, new Error('m', { cause: 2n })]]) }
const std::string kObject =
    "o\"\x01"
    "aA\x02I\x02\"\x01\xe9$" +
    kNul +
    "\x02\"\x01"
    "b;R\"\x01x" +
    kNul +
    "rEm\"\x01mcZ\x10"
    "12345678.:\x02{\x02";

TEST(PayloadScan, KnowsWhatV8Writes) {
  for (const std::string& value : {std::string("_"), std::string("I\x02"), std::string("N12345678"),
                                   std::string("\"\x03"
                                               "abc"),
                                   kObject, std::string("D12345678"),
                                   std::string("B\x03"
                                               "abc"),
                                   std::string("\\\x01\x03"
                                               "abc"),
                                   std::string("\\\x20\0\x03"
                                               "B\x03"
                                               "abc",
                                               9)}) {
    const PayloadShape shape = Scanned(Of(value));
    EXPECT_EQ(shape.problem, nullptr) << value;
  }
  EXPECT_EQ(Scanned(Of(kObject)).depth, 3U);
  EXPECT_TRUE(Scanned(Of("B\x03"
                         "abc"))
                  .has_array_buffers);
  EXPECT_FALSE(Scanned(Of("\\\x01\x03"
                          "abc"))
                   .has_array_buffers);
}

TEST(PayloadScan, RefusesWhatIsCutOffOrGoesOn) {
  const Payload whole = Of(kObject);
  for (size_t length = 0; length < whole.size(); length++) {
    EXPECT_NE(ScanPayload(whole.data(), length, true).problem, nullptr) << length;
  }
  Payload longer = whole;
  longer.push_back('_');
  EXPECT_NE(Scanned(longer).problem, nullptr);
}

TEST(PayloadScan, RefusesWhatItDoesNotKnow) {
  for (const std::string& value :
       {std::string("?"), std::string("{\x01"), std::string("A\x01{\x01"), std::string("s_"),
        std::string("rX"), std::string("\\!\0\0_", 5)}) {
    EXPECT_NE(Scanned(Of(value)).problem, nullptr) << value;
  }
  const Payload older = {0xff, 14, '_'};
  EXPECT_NE(Scanned(older).problem, nullptr);
  // A number without an end.
  EXPECT_NE(Scanned(Of("I" + std::string(20, '\xff'))).problem, nullptr);
  // A length beyond the end of the payload, and one that would lead back to the value itself
  // forever.
  EXPECT_NE(Scanned(Of("\"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")).problem, nullptr);
  EXPECT_NE(Scanned(Of("A\x02\"\xf5\xff\xff\xff\xff\xff\xff\xff\xff\x01")).problem, nullptr);
}

TEST(PayloadScan, TakesNoStackForWhatIsNested) {
  const uint32_t depth = 1'000'000;
  std::string value(depth, 'o');
  value += "_";
  Payload payload = Of(value);
  payload.pop_back();
  for (uint32_t i = 0; i < depth; i++) {
    payload.push_back('{');
    payload.push_back(1);
  }
  const PayloadShape shape = Scanned(payload);
  EXPECT_EQ(shape.problem, nullptr);
  EXPECT_EQ(shape.depth, depth);
}

TEST(PayloadScan, FindsTheErrorWhoseCauseLeadsBackToIt) {
  const Payload cyclic = Of("rEc^" + kNul + ".");
  EXPECT_EQ(Scanned(cyclic, true).problem, nullptr);
  EXPECT_NE(Scanned(cyclic, false).problem, nullptr);
  // A cause may refer to another value.
  const Payload other = Of("A\x02o{" + kNul + "rEc^\x01.$" + kNul + "\x02");
  EXPECT_EQ(Scanned(other, false).problem, nullptr);
}

}  // namespace
}  // namespace stillframe::test
