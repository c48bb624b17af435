// The output is JSON in UTF-8 whatever the strings contain, and classes are counted for a bounded
// number of names. Proved with the characters that have a special meaning somewhere.
#include "heap/json_writer.h"

#include <gtest/gtest.h>

#include "heap/class_histogram.h"

namespace stillframe::test {
namespace {

TEST(JsonWriter, WritesNestedObjectsAndArrays) {
  std::string text;
  JsonWriter json([&](std::string_view piece) { text += piece; });
  json.BeginObject();
  json.Member("a", 18446744073709551615U);
  json.Key("b"), json.BeginArray();
  json.BeginObject(), json.EndObject();
  json.String("x"), json.Bool(true);
  json.BeginArray(), json.EndArray();
  json.EndArray();
  json.Key("c"), json.BeginObject();
  json.Member("d", "e");
  json.EndObject();
  json.EndObject();
  EXPECT_EQ(text,
            "{\"a\":18446744073709551615,\n\"b\":[{},\n\"x\",\ntrue,\n[]],\n\"c\":{\"d\":\"e\"}}");
}

TEST(JsonWriter, EscapesWhatIsNoText) {
  std::string text;
  JsonWriter json([&](std::string_view piece) { text += piece; });
  json.String(std::string_view("\"\\\0\n\x1b\x7f\xc2\x9b\xc3\xa9", 10));
  EXPECT_EQ(text, "\"\\\"\\\\\\u0000\\u000a\\u001b\\u007f\\u009b\xc3\xa9\"");
}

TEST(AppendUtf8, TakesCharactersOfV8) {
  std::string text;
  const uint8_t latin1[] = {'a', 0xE9, 0xFF};
  AppendUtf8(latin1, 3, &text);
  const uint16_t utf16[] = {0x20AC, 0xD83D, 0xDE00, 0xDC00, 'b', 0xD83D};
  AppendUtf8(utf16, 6, &text);
  EXPECT_EQ(text,
            "aéÿ€😀\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
}

TEST(ClassHistogram, TellsABoundedNumberOfClassesAndCountsTheOthers) {
  ClassHistogram classes(3);
  classes.Add("A", "object", {1, 10});
  classes.Add("B", "object", {2, 50});
  classes.Add("B", "closure", {3, 7});  // another class of the same name
  classes.Add("C", "object", {4, 1000});
  classes.Add("A", "object", {1, 90});
  classes.AddToOthers({1, 5});
  const std::vector<ClassCount> sorted = classes.Sorted();
  ASSERT_EQ(sorted.size(), 3U);
  EXPECT_EQ(sorted[0].name, "A");
  EXPECT_EQ(sorted[0].objects.count, 2U);
  EXPECT_EQ(sorted[0].objects.bytes, 100U);
  EXPECT_EQ(sorted[2].type, "closure");
  EXPECT_EQ(classes.others().count, 5U);
  EXPECT_EQ(classes.others().bytes, 1005U);
}

}  // namespace
}  // namespace stillframe::test
