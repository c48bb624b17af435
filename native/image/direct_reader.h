// A descriptor that this library reads files with around the page cache. It reads into memory of its own, or that nobody has
// yet: whoever looks for direct reads into captured memory may pass it by.
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

  // Any thread.
  static bool IsOurs(int fd);

 private:
  void Forget();
  UniqueFd fd_;
};

}  // namespace stillframe
