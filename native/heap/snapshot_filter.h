// V8's JSON of a heap snapshot on its way to the file, with changes made in passing. It comes in
// pieces that are cut anywhere:
//
//   {"snapshot":{"meta":{"node_fields":[...],"node_types":[[...],...],...},...},
//    "nodes":[...],"edges":[...],"trace_function_infos":[...],...,"strings":[...]}
//
// Nodes, edges and functions are records of numbers, and "meta" says which. A filter sees each
// record and each string once. One string and one record are all that is held back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stillframe {

class SnapshotFilter {
 public:
  virtual ~SnapshotFilter() = default;
  // The next piece, changed; valid until the next call.
  std::string_view Pass(std::string_view piece);

 protected:
  enum class Records : uint8_t { kNodes, kEdges, kTraceFunctions };
  static constexpr size_t kNone = SIZE_MAX;

  struct FieldType {
    std::string name;                 // "number", "string", ...
    std::vector<std::string> values;  // or the words that its numbers stand for
  };
  // What "meta" says of the records of one kind. It may know types of more fields than there are,
  // and of functions none.
  struct Layout {
    std::vector<std::string> fields;
    std::vector<FieldType> types;

    size_t IndexOf(std::string_view field) const;  // kNone: there is none
  };

  // Records of this kind begin. False: they are copied as they are.
  virtual bool OnBegin(Records kind, const Layout& layout) = 0;
  // One of them, with as many numbers as it has fields, to be changed in place.
  virtual void OnRecord(Records kind, uint64_t* record) = 0;
  // A string, as it is escaped, of the table or of anywhere else but V8's own description: appends
  // what stands in its place, with the quotes.
  virtual void OnString(bool in_table, std::string_view escaped, std::string* out);

 private:
  enum class State : uint8_t { kText, kString, kRecords, kCopied };
  static constexpr size_t kKeyDepth = 3;
  static constexpr size_t kKinds = 3;

  size_t TakeText(std::string_view rest);
  size_t TakeString(std::string_view rest);
  size_t TakeRecords(std::string_view rest);
  size_t TakeCopied(std::string_view rest);
  void Open(char bracket);
  void EndString();
  void EndNumber();
  void EndRecords(char end);
  void WriteRecord();
  void Describe();

  std::string out_;
  State state_ = State::kText;
  size_t depth_ = 0;                            // brackets that are open
  std::array<std::string, kKeyDepth + 1> key_;  // whose value is being read, by depth
  bool is_value_ = false;                       // what follows has a key
  size_t item_ = 0;                             // of a list of "meta"
  std::string word_;                            // the string that is being read, or was last
  bool is_escape_ = false;
  std::array<Layout, kKinds> layouts_;
  size_t kind_ = 0;
  std::vector<uint64_t> record_;
  uint64_t number_ = 0;
  bool in_number_ = false;
};

}  // namespace stillframe
