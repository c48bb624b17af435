#include "image/direct_reader.h"

#include <mutex>
#include <set>
#include <utility>

namespace stillframe {
namespace {

struct Known {
  std::mutex lock;
  std::set<int> fds;
};

Known& All() {
  static auto* known = new Known;  // never destroyed: a Worker may read while the process exits
  return *known;
}

}  // namespace

DirectReader::DirectReader(int fd) : fd_(fd) {
  const std::lock_guard guard(All().lock);
  All().fds.insert(fd);
}

DirectReader& DirectReader::operator=(DirectReader&& other) noexcept {
  if (this == &other) return *this;
  Forget();
  fd_ = std::move(other.fd_);
  return *this;
}

DirectReader::~DirectReader() { Forget(); }

// Called before the descriptor is closed, because afterwards its number may be reused.
void DirectReader::Forget() {
  if (!fd_.valid()) return;
  const std::lock_guard guard(All().lock);
  All().fds.erase(fd_.get());
}

bool DirectReader::IsOurs(int fd) {
  const std::lock_guard guard(All().lock);
  return All().fds.count(fd) != 0;
}

}  // namespace stillframe
