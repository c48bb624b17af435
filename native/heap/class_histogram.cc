#include "heap/class_histogram.h"

#include <algorithm>
#include <utility>

namespace stillframe {

void ClassHistogram::Add(std::string_view name, std::string_view type, const ObjectCount& objects) {
  // The key has both parts, since a program may name a class "(array)".
  std::string key(type);
  key.push_back('\0');
  key.append(name);
  auto found = classes_.find(key);
  if (found == classes_.end()) {
    if (classes_.size() >= most_classes_) return AddToOthers(objects);
    found = classes_.emplace(std::move(key), ClassCount{std::string(name), type, {}}).first;
  }
  found->second.objects.count += objects.count;
  found->second.objects.bytes += objects.bytes;
}

void ClassHistogram::AddToOthers(const ObjectCount& objects) {
  others_.count += objects.count;
  others_.bytes += objects.bytes;
}

std::vector<ClassCount> ClassHistogram::Sorted() const {
  std::vector<ClassCount> sorted;
  sorted.reserve(classes_.size());
  for (const auto& [key, counted] : classes_) sorted.push_back(counted);
  std::sort(sorted.begin(), sorted.end(), [](const ClassCount& a, const ClassCount& b) {
    if (a.objects.bytes != b.objects.bytes) return a.objects.bytes > b.objects.bytes;
    return a.name < b.name;
  });
  return sorted;
}

}  // namespace stillframe
