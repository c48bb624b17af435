// Opens a frame together with all files that it builds on, wherever they are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/image_file.h"
#include "image/read_limits.h"

namespace stillframe {

// Finds parents by their id, in files and in directories (not in subdirectories).
class ParentSearch {
 public:
  // If `places` is empty, the parent of each file is searched for in the directory of that file.
  explicit ParentSearch(std::vector<std::string> places);
  // Fails with kParent if no file is the frame that was recorded. Named files take precedence over
  // files in directories and, within each group, a full file of the frame over a delta.
  Result<std::unique_ptr<ImageFile>> Find(const ImageFile& child, const std::string& child_path,
                                          const ReadLimits& limits, std::string* path);

 private:
  using ById = std::multimap<std::string, std::string>;  // paths
  const ById& FilesIn(const std::string& place);
  std::vector<std::string> places_;  // files first
  size_t first_directory_ = 0;
  std::map<std::string, ById> known_;  // by place
};

// True if the path names a file that is needed to read the frame.
bool IsOfChain(const ImageFile& frame, const std::string& path);

// Also fails with kParent if the chain is longer than any that can be intended.
Result<ImageFile> OpenFrame(const std::string& path, const std::vector<std::string>& places,
                            const ReadLimits& limits);

struct NamedSource {
  std::unique_ptr<ByteSource> source;
  std::string name;  // for messages
};
// Opens a frame whose files are already known. They are in order from the newest to the full file.
Result<ImageFile> OpenFrame(std::vector<NamedSource> chain, const ReadLimits& limits);

}  // namespace stillframe
