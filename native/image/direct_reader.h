// A descriptor with which this library reads files past the page cache. It reads only into
// memory of its own, or that nothing else uses yet, so the search for direct reads into
// captured memory may ignore it.
#pragma once

#include "base/unique_fd.h"

namespace stillframe {

class DirectReader {
 public:
  DirectReader() = default;
  explicit DirectReader(int fd);
  DirectReader(DirectReader&& other) noexcept = default;
  DirectReader& operator=(DirectReader&& other) noexcept;
  ~DirectReader();

  int get() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }

  // May be called on any thread.
  static bool IsOurs(int fd);

 private:
  void Forget();
  UniqueFd fd_;
};

}  // namespace stillframe
