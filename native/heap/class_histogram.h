// Counts objects by class, for a bounded number of classes; objects of further classes count as
// "others". The bound is needed since the names come from the program, which may have any number.
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
  std::string_view type;  // in static storage
  ObjectCount objects;
};

class ClassHistogram {
 public:
  explicit ClassHistogram(size_t most_classes) : most_classes_(most_classes) {}

  void Add(std::string_view name, std::string_view type, const ObjectCount& objects);
  void AddToOthers(const ObjectCount& objects);

  // In descending order of bytes; classes of equal size in the order of their names.
  std::vector<ClassCount> Sorted() const;
  const ObjectCount& others() const { return others_; }

 private:
  size_t most_classes_;
  std::unordered_map<std::string, ClassCount> classes_;
  ObjectCount others_;
};

}  // namespace stillframe
