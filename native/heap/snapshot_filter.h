// Changes V8's JSON of a heap snapshot on its way to the file. It arrives in pieces that may be cut
// anywhere:
//
//   {"snapshot":{"meta":{"node_fields":[...],"node_types":[[...],...],...},...},
//    "nodes":[...],"edges":[...],"trace_function_infos":[...],...,"strings":[...]}
//
// Nodes, edges and functions are records of numbers, whose fields "meta" describes. A filter sees
// each record and each string once. Only one string and one record are held back at a time.
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
  // Takes the next piece and returns it changed; the result is valid until the next call.
  std::string_view Pass(std::string_view piece);

 protected:
  enum class Records : uint8_t { kNodes, kEdges, kTraceFunctions };
  static constexpr size_t kNone = SIZE_MAX;

  struct FieldType {
    std::string name;                 // "number", "string", ...
    std::vector<std::string> values;  // or the words that its numbers stand for
  };
  // The description of the records of one kind in "meta". `types` may be longer than `fields`, and
  // is empty for functions.
  struct Layout {
    std::vector<std::string> fields;
    std::vector<FieldType> types;

    size_t IndexOf(std::string_view field) const;  // kNone if there is none
  };

  // Called before the records of this kind. If it returns false, they are copied unchanged.
  virtual bool OnBegin(Records kind, const Layout& layout) = 0;
  // Called for each record, which has as many numbers as there are fields, to change it in place.
  virtual void OnRecord(Records kind, uint64_t* record) = 0;
  // Called for each string, in its escaped form, from the table or from anywhere else except V8's
  // own description. Appends the replacement to `out`, with the quotes.
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
  size_t depth_ = 0;                            // open brackets
  std::array<std::string, kKeyDepth + 1> key_;  // of the value that is being read, by depth
  bool is_value_ = false;                       // the next value belongs to a key
  size_t item_ = 0;                             // index in a list of "meta"
  std::string word_;                            // the current string, or the last one
  bool is_escape_ = false;
  std::array<Layout, kKinds> layouts_;
  size_t kind_ = 0;
  std::vector<uint64_t> record_;
  uint64_t number_ = 0;
  bool in_number_ = false;
};

}  // namespace stillframe
