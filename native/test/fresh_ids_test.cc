// No two files get the same ids, and only the ids in the JSON of V8 are changed, wherever it is cut
// into pieces. Proved with a small snapshot that is cut at each position.
#include "heap/fresh_ids.h"

#include <gtest/gtest.h>

#include <string>

namespace stillframe::test {
namespace {

const std::string kSnapshot =
    R"({"snapshot":{"meta":{"node_fields":["type","name","id","self_size"],"x":[1]},"node_count":3},)"
    R"("nodes":[9,1,1,0,
2,3,4,5,
3,4,7,4294967296],
"edges":[7,4,1],"strings":["nodes\":[7,1"]})";

// kSnapshot with these ids instead of 1, 4 and 7.
std::string WithIds(const std::string& first, const std::string& second, const std::string& third) {
  return R"({"snapshot":{"meta":{"node_fields":["type","name","id","self_size"],"x":[1]},"node_count":3},)"
         R"("nodes":[9,1,)" +
         first + ",0,\n2,3," + second + ",5,\n3,4," + third +
         R"(,4294967296],
"edges":[7,4,1],"strings":["nodes\":[7,1"]})";
}

TEST(IdMover, MovesTheIdsAndNothingElseWhereverTheTextIsCut) {
  for (size_t cut = 0; cut <= kSnapshot.size(); cut++) {
    IdMover mover(1000, IdMover::kKeepNone);
    std::string moved(mover.Pass(kSnapshot.substr(0, cut)));
    moved += mover.Pass(kSnapshot.substr(cut));
    // Odd ids become even, and the other way round.
    ASSERT_EQ(moved, WithIds("1002", "1001", "1008")) << cut;
    EXPECT_EQ(mover.highest(), 1008U);
  }
}

TEST(IdMover, LeavesTheIdsThatTheServiceKeeps) {
  IdMover mover(1000, 3);
  EXPECT_EQ(mover.Pass(kSnapshot), WithIds("1", "1001", "1004"));
  EXPECT_EQ(mover.highest(), 1004U);
}

// V8 derives these ids from addresses, so two copies may have ids that are as far
// apart as their ranges.
TEST(IdMover, GivesObjectsOutsideOfTheHeapIdsOfTheRangeTooWhateverTheyHad) {
  IdMover mover(1000, IdMover::kKeepNone);
  const std::string head = R"({"snapshot":{"meta":{"node_fields":["id"]}},"nodes":)";
  EXPECT_EQ(mover.Pass(head + R"([4294967294,1,0,2147483648],"x":0})"),
            head + R"([1001,1002,1003,1005],"x":0})");
  EXPECT_EQ(mover.highest(), 1005U);
}

// V8 puts ids into the names of some references, and DevTools looks up the nodes by them.
TEST(IdMover, MovesTheIdsInNamesOfPairsOfWeakMapsToo) {
  const auto file = [](const std::string& nodes, const std::string& name) {
    return R"({"snapshot":{"meta":{"node_fields":["id"],"edge_fields":["id"]}},"nodes":[)" + nodes +
           R"(],"edges":[1,3],"strings":["@5",")" + name + "\"]}";
  };
  const auto name = [](const std::string& key, const std::string& value, const std::string& table) {
    return "3 / part of key (k @" + key + ") -> value (v @ 5 @" + value +
           ") pair in WeakMap (table @" + table + ")";
  };
  EXPECT_EQ(IdMover(1000, 3).Pass(file("3,5,7", name("3", "5", "7"))),
            file("3,1002,1004", name("3", "1002", "1004")));
  // A name that contains something that looks like a second value.
  const std::string unclear = name("5", "7) -> value (v @5", "7");
  EXPECT_EQ(IdMover(1000, 3).Pass(file("3", unclear)), file("3", unclear));
}

TEST(FreshIds, AreInNoOtherFile) {
  const uint32_t first = FreshIds::Take(100);
  const uint32_t second = FreshIds::Take(100);
  EXPECT_GE(first, FreshIds::kLowest);
  EXPECT_EQ(first % 2, 0U);
  EXPECT_GE(second, first + 100);
  FreshIds::GiveBack(second, 100, second + 11);
  // Another file has taken ids since then, so those that the first file did not need are lost.
  FreshIds::GiveBack(first, 100, first + 10);
  const uint32_t third = FreshIds::Take(100);
  EXPECT_GT(third, second + 11);
  EXPECT_LE(third, second + 14) << "what was not needed is given back";
  EXPECT_EQ(third % 2, 0U);
  FreshIds::GiveBack(third, 100, 0);
}

TEST(FreshIds, BeginAgainWhenTheyRunOut) {
  const uint32_t first = FreshIds::Take(uint64_t{1} << 31);
  EXPECT_EQ(first, FreshIds::kLowest);
  EXPECT_EQ(FreshIds::Take(2), FreshIds::kLowest);
}

}  // namespace
}  // namespace stillframe::test
