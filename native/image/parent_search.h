// Opens a frame with all that it builds on, wherever that lies.
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

// Parents are looked for by their id, in files and in directories (not below them).
class ParentSearch {
 public:
  // No places: the directory of each file that has a parent.
  explicit ParentSearch(std::vector<std::string> places);
  // kParent when none is the frame that was recorded. Files that were named come before what lies in directories, and then
  // a full file of the frame before a delta.
  Result<std::unique_ptr<ImageFile>> Find(const ImageFile& child, const std::string& child_path,
                                          const ReadLimits& limits, std::string* path);

 private:
  using ById = std::multimap<std::string, std::string>;  // paths
  const ById& FilesIn(const std::string& place);
  std::vector<std::string> places_;  // files first
  size_t first_directory_ = 0;
  std::map<std::string, ById> known_;  // by place
};

// Whether the path names a file that has to be there to read the frame.
bool IsOfChain(const ImageFile& frame, const std::string& path);

// kParent, too, when a chain is longer than any that can be meant.
Result<ImageFile> OpenFrame(const std::string& path, const std::vector<std::string>& places,
                            const ReadLimits& limits);

// A frame of files that are known already, from the newest on: where the bytes of each are, and its name for messages. The
// last is a full one.
struct NamedSource {
  std::unique_ptr<ByteSource> source;
  std::string name;
};
Result<ImageFile> OpenFrame(std::vector<NamedSource> chain, const ReadLimits& limits);

}  // namespace stillframe
