// The contents of strings are removed from the output, names are kept, and everything else is
// unchanged, wherever V8's JSON is split. Tested with small snapshots, some of them from versions
// of V8 that do not exist.
#include "heap/redactor.h"

#include <gtest/gtest.h>

#include <string>

#include "heap/masked_text.h"

namespace stillframe::test {
namespace {

const std::string kMeta =
    R"("meta":{"node_fields":["type","name","id","self_size","edge_count"],)"
    R"("node_types":[["hidden","string","object","regexp","symbol","new kind"],"string","number","number","number"],)"
    R"("edge_fields":["type","name_or_index","to_node"],)"
    R"("edge_types":[["property","element","new kind"],"string_or_number","node"],)"
    R"("trace_function_info_fields":["function_id","name","script_name","line"],)"
    R"("location_fields":["object_index","line"]})";

std::string Snapshot(const std::string& nodes, const std::string& edges, const std::string& strings,
                     const std::string& functions = "", const std::string& meta = kMeta) {
  return R"({"snapshot":{)" + meta + R"(,"node_count":3,"extra":"1"},)" + "\n\"nodes\":[" + nodes +
         "],\n\"edges\":[" + edges + "],\n\"trace_function_infos\":[" + functions +
         "],\n\"trace_tree\":[1,0,[2,[]]],\"samples\":[12,-3],\"locations\":[5,1.05],\n\"strings\":"
         "[" +
         strings + "]}";
}

// V8's own words, which come first.
const std::string kWords =
    "\"(concatenated string)\",\n\"(sliced string)\",\n\"symbol\",\n\"heap "
    "number\",\n\"bigint\",\n";

std::string Redacted(const std::string& text) {
  Redactor redactor;
  return std::string(redactor.Pass(text));
}

std::string Masked(std::string_view text) {
  std::string masked;
  AppendMasked(text, &masked);
  return masked;
}

std::string Name(std::string_view text) {
  std::string name;
  AppendName(text, &name);
  return name;
}

// An object "A" whose property "k" is the string "k"; an element 1; a function in a script.
const std::string kSmall =
    Snapshot("2,1,1,16,2\n,1,2,3,24,0\n", "0,2,5\n,1,1,5\n",
             "\"<dummy>\",\n\"A\",\n\"k\",\n\"nobody's\",\n\"run\",\n\"/a.js\"", "1,4,5,7\n");
const std::string kSmallRedacted = Snapshot(
    "2,8,1,16,2\n,1,9,3,24,0\n", "0,10,5\n,1,1,5\n",
    kWords + "\"\",\"\",\n\"\",\"A\",\n\"*\",\"k\",\n\"\",\"\",\n\"\",\"run\",\n\"\",\"/a.js\"",
    "1,14,16,7\n");

TEST(Redactor, ReplacesContentsAndKeepsNamesWhereverTheTextIsCut) {
  for (size_t cut = 0; cut <= kSmall.size(); cut++) {
    Redactor redactor;
    std::string redacted(redactor.Pass(kSmall.substr(0, cut)));
    redacted += redactor.Pass(kSmall.substr(cut));
    ASSERT_EQ(redacted, kSmallRedacted) << cut;
  }
}

TEST(Redactor, TakesCharactersOneByOne) {
  Redactor redactor;
  std::string redacted;
  for (const char c : kSmall) redacted += redactor.Pass({&c, 1});
  EXPECT_EQ(redacted, kSmallRedacted);
}

TEST(Redactor, ReadsTheOrderOfTheFieldsFromTheFile) {
  const std::string meta =
      R"("meta":{"edge_types":["node",["element","property"],"string_or_number"],)"
      R"("edge_fields":["to_node","type","name_or_index"],)"
      R"("node_types":["number","string",["regexp","object"]],)"
      R"("node_fields":["id","name","type"]})";
  EXPECT_EQ(Redacted(Snapshot("7,1,0,9,2,1", "3,0,1,3,1,1", R"("d","one","two")", "", meta)),
            Snapshot("7,7,0,9,10,1", "3,0,1,3,1,8",
                     kWords + R"("","",)" + "\"***\",\"one\"," + R"("","two")", "", meta));
}

TEST(Redactor, TakesForContentWhatItDoesNotKnow) {
  // An unknown type of node, an unknown type of edge, and type numbers that have no description.
  EXPECT_EQ(Redacted(Snapshot("5,1,1,0,0,99,2,3,0,0", "2,3,5,77,4,5", R"("d","a","b","c","e")")),
            Snapshot("5,7,1,0,0,99,9,3,0,0", "2,11,5,77,13,5",
                     kWords + R"("","",)" + R"("*","","*","","*","","*","")"));
}

TEST(Redactor, TakesForContentAStringThatIsNoName) {
  const std::string meta = R"("meta":{"node_fields":["type","name","text"],)"
                           R"("node_types":[["object"],"string","string"]})";
  EXPECT_EQ(Redacted(Snapshot("0,1,2", "", R"("d","one","two")", "", meta)),
            Snapshot("0,8,9", "", kWords + R"("","","","one","***","")", "", meta));
}

TEST(Redactor, GivesSymbolsAWordOfItsOwnWhateverTheyAreCalled) {
  EXPECT_EQ(Redacted(Snapshot("4,1,1,16,0", "", R"("d","secret")")),
            Snapshot("4,2,1,16,0", "", kWords + R"("","","","")"));
}

TEST(Redactor, LetsNothingThroughWithoutADescription) {
  for (const std::string meta :
       {R"("meta":{})", R"("meta":{"node_fields":["type","name"],"edge_fields":["type"]})"}) {
    const std::string redacted = Redacted(Snapshot("1,1", "0,1,5", R"("d","secret")", "", meta));
    EXPECT_EQ(redacted.find("secret"), redacted.npos) << redacted;
  }
}

TEST(Redactor, LetsNothingThroughOfATableThatComesFirst) {
  EXPECT_EQ(Redacted(R"({"strings":["secret"],"snapshot":{)" + kMeta +
                     R"(},"nodes":[2,0,1,0,0],"edges":[]})"),
            R"({"strings":[)" + kWords + R"("",""],"snapshot":{)" + kMeta +
                R"(},"nodes":[2,6,1,0,0],"edges":[]})");
}

TEST(Redactor, LetsNoTextThroughOfPartsThatItDoesNotKnow) {
  EXPECT_EQ(Redacted(R"({"new":{"secret":["a\"b",{"c":1}]},"value":"secret","nodes":["x",-1]})"),
            R"({"new":{"******":["***",{"*":1}]},"value":"******","nodes":["*",-1]})");
  // Unexpected values inside records.
  EXPECT_EQ(
      Redacted(R"({"snapshot":{)" + kMeta + R"(},"nodes":[2,1,"secret",0],"edges":[0,-1,2]})"),
      R"({"snapshot":{)" + kMeta + R"(},"nodes":[2,1,"******",0],"edges":[0,-1,2]})");
}

TEST(Redactor, BearsNumbersThatAreNoStrings) {
  EXPECT_EQ(Redacted(Snapshot("2,18446744073709551615,1,0,0", "", R"("d")")),
            Snapshot("2,0,1,0,0", "", kWords + R"("","")"));
}

TEST(MaskedText, HasTheLengthOfTheText) {
  EXPECT_EQ(Masked(""), "");
  EXPECT_EQ(Masked("secret"), "******");
  EXPECT_EQ(Masked(R"(a\"\\\n)"), "****");
  EXPECT_EQ(Masked(R"(\u00E4\uD83D\uDE00b)"), "****");
  EXPECT_EQ(Masked("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"), "****");  // ä, €, and a surrogate pair
  EXPECT_EQ(Masked(R"(\u00)"), "*");
  EXPECT_EQ(Masked("\\"), "*");
}

TEST(MaskedText, NamesStay) {
  for (const std::string name :
       {"", "name", "#private", "get name", "(code for run)", "12 / (Global handles)",
        "system / Map", "<symbol>", "<symbol Symbol.iterator>", "Node / Environment",
        "node:internal/url", "what?", "/srv/app/lib/a.js", "file:///srv/a%20b.mjs", "a.b.c",
        "C:", R"(d\u00E9j\u00E0)"}) {
    EXPECT_EQ(Name(name), name);
  }
}

TEST(MaskedText, DescriptionsOfSymbolsGo) {
  EXPECT_EQ(Name("<symbol secret>"), "<symbol ******>");
  EXPECT_EQ(Name("<symbol a>b>"), "<symbol ***>");
  EXPECT_EQ(Name("<symbol cut"), "<symbol ***");
  EXPECT_EQ(Name("<symbol Symbol.iterators>"), "<symbol ****************>");
}

TEST(MaskedText, KeysAndValuesOfWeakMapsGo) {
  EXPECT_EQ(Name("5 / part of key (Key @1) -> value (secret @23) pair in WeakMap (table @45)"),
            "5 / part of key (*** @1) -> value (****** @23) pair in WeakMap (table @45)");
  EXPECT_EQ(Name("5 / part of key ( @1) -> value ( @2) pair in WeakMap (table @3)"),
            "5 / part of key ( @1) -> value ( @2) pair in WeakMap (table @3)");
  // Text that looks like part of the pattern.
  for (const std::string name :
       {"5 / part of key (a @1) -> value (12) -> value (34 @2) pair in WeakMap (table @3)",
        "5 / part of key (1234", "part of key (a @1) -> value (b @2) pair in WeakMap (table @3)",
        "12 34 / part of key (a @1) -> value (b @2) pair in WeakMap (table @3)",
        "5 / part of key (a @1) -> value (b @2) pair in WeakMap (table @3) 45)",
        "5 / part of key (%s @%u) -> value (%s @%u) pair in WeakMap (table @%u)",
        "5 / part of key (a @1) -> value (b) pair in WeakMap (table @2) pair in WeakMap (table @4)",
        "5 / part of key (a) pair in WeakMap (table @1) -> value (b"}) {
    EXPECT_EQ(Name(name), std::string(name.size(), '*'));
  }
  EXPECT_EQ(Name("5 / part of key (1 @2 3 @4) -> value (5 @6 @8) pair in WeakMap (table @9)"),
            "5 / part of key (****** @4) -> value (**** @8) pair in WeakMap (table @9)");
}

TEST(MaskedText, QueriesPasswordsAndSourcesGoOutOfUrls) {
  EXPECT_EQ(Name("file:///srv/a.mjs?token=1#2"), "file:///srv/a.mjs**********");
  EXPECT_EQ(Name("/srv/a.js#secret"), "/srv/a.js*******");
  EXPECT_EQ(Name("./a.mjs?secret::"), "./a.mjs*********");
  EXPECT_EQ(Name("data:text/javascript,1"), "data:*****************");
  EXPECT_EQ(Name("redis://user:pass@host/1?x@y"), "redis://*********@host/1****");
  EXPECT_EQ(Name("redis://a@b@host"), "redis://***@host");
  EXPECT_EQ(Name("http://host/a@b"), "http://host/a@b");
}

TEST(MaskedText, TextsGo) {
  EXPECT_EQ(Name(R"(-----BEGIN KEY-----\nsecret)"), std::string(26, '*'));
  EXPECT_EQ(Name(R"(a\rb)"), "***");
  const std::string longest(256, 'a');
  EXPECT_EQ(Name(longest), longest);
  EXPECT_EQ(Name(longest + "a"), std::string(257, '*'));
}

}  // namespace
}  // namespace stillframe::test
