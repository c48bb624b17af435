// Objects by class, for a bounded number of classes: what comes when it is full is counted as
// "others". Names come from the program, and there may be as many as it likes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace stillframe {

struct ObjectCount {
  uint64_t count = 0;
  uint64_t bytes = 0;
};

struct ClassCount {
  std::string name;
  std::string_view type;  // of static storage
  ObjectCount objects;
};

class ClassHistogram {
 public:
  explicit ClassHistogram(size_t most_classes) : most_classes_(most_classes) {}

  void Add(std::string_view name, std::string_view type, const ObjectCount& objects);
  void AddToOthers(const ObjectCount& objects);

  // The largest first; what has the same size in the order of the names.
  std::vector<ClassCount> Sorted() const;
  const ObjectCount& others() const { return others_; }

 private:
  size_t most_classes_;
  std::unordered_map<std::string, ClassCount> classes_;
  ObjectCount others_;
};

}  // namespace stillframe
