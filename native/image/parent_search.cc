#include "image/parent_search.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/sys.h"
#include "base/thread.h"
#include "base/unique_fd.h"

namespace stillframe {
namespace {

// Each file reads its parent before itself, so this bounds the depth of recursion.
constexpr size_t kLongestChain = 1000;
// Number of files to open at the same time where opening takes long.
constexpr size_t kOpeners = 16;

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string IdOf(const uint8_t (&id)[16]) {
  return std::string(reinterpret_cast<const char*>(id), sizeof id);
}

std::string Uuid(const uint8_t (&id)[16]) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < sizeof id; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[id[i] >> 4];
    text += kDigits[id[i] & 15];
  }
  return text;
}

// The id of a file that looks like a snapshot; empty for anything else. Never blocks.
std::string IdOfFile(const std::string& path) {
  const UniqueFd fd(
      sys::Open(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0));
  struct stat about {};
  if (!fd.valid() || sys::Fstat(fd.get(), &about) < 0 || !S_ISREG(about.st_mode)) return "";
  FileHeader header{};
  if (sys::Pread(fd.get(), &header, sizeof header, 0) != sizeof header) return "";
  if (memcmp(header.magic, kHeaderMagic, sizeof kHeaderMagic) != 0) return "";
  return IdOf(header.id);
}

bool IsParentOf(const ImageFile& parent, const ImageFile& child) {
  return IdOf(parent.header().id) == IdOf(child.header().parent_id) &&
         parent.trailer().state == child.header().parent_state;
}

// `files` and `paths` are in order from the newest file to the full file.
Result<ImageFile> Assemble(std::vector<ImageFile> files, const std::vector<std::string>& paths) {
  // Starts with the full file.
  for (size_t i = files.size() - 1; i > 0; i--) {
    ImageFile& child = files[i - 1];
    child.BuildOn(std::make_unique<ImageFile>(std::move(files[i])), paths[i]);
    if (Status covers = child.CheckCover(); !covers.ok()) {
      Failure failure = covers.failure();
      if (i > 1) {
        failure.message = "in the parent file " + paths[i - 1] + ": " + failure.message;
      }
      return failure;
    }
  }
  return std::move(files.front());
}

}  // namespace

ParentSearch::ParentSearch(std::vector<std::string> places) : places_(std::move(places)) {
  const auto is_file = [](const std::string& place) {
    struct stat about {};
    return sys::Fstatat(AT_FDCWD, place.c_str(), &about, 0) < 0 || !S_ISDIR(about.st_mode);
  };
  const auto end_of_files = std::stable_partition(places_.begin(), places_.end(), is_file);
  first_directory_ = static_cast<size_t>(end_of_files - places_.begin());
}

const ParentSearch::ById& ParentSearch::FilesIn(const std::string& place) {
  const auto [found, is_new] = known_.try_emplace(place);
  if (!is_new) return found->second;
  ById& files = found->second;
  DIR* listing = opendir(place.c_str());
  if (listing == nullptr) {
    if (const std::string id = IdOfFile(place); !id.empty()) files.emplace(id, place);
    return files;
  }
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_type != DT_REG && entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) continue;
    const std::string path = (place == "/" ? "" : place) + "/" + entry->d_name;
    if (const std::string id = IdOfFile(path); !id.empty()) files.emplace(id, path);
  }
  closedir(listing);
  return files;
}

Result<std::unique_ptr<ImageFile>> ParentSearch::Find(const ImageFile& child,
                                                      const std::string& child_path,
                                                      const ReadLimits& limits, std::string* path) {
  const std::vector<std::string> beside = {DirectoryOf(child_path)};
  const std::vector<std::string>& places = places_.empty() ? beside : places_;
  std::string tried;
  std::unique_ptr<ImageFile> found;
  for (size_t i = 0; i < places.size(); i++) {
    const std::string& place = places[i];
    // Once a named file has been found, the directories need not be searched.
    if (found != nullptr && i >= first_directory_) break;
    const auto [from, to] = FilesIn(place).equal_range(IdOf(child.header().parent_id));
    for (auto candidate = from; candidate != to; ++candidate) {
      Result<ImageFile> opened = ImageFile::Open(candidate->second, limits);
      if (!opened.ok()) {
        tried += "; " + candidate->second + " has its id, but " + opened.failure().message;
        continue;
      }
      if (!IsParentOf(opened.value(), child)) {
        tried += "; " + candidate->second +
                 " has its id, but not the memory that it had when this one was written";
        continue;
      }
      // A frame may exist twice: as it was taken, and as the single file into which
      // its chain was merged.
      if (found != nullptr && opened.value().is_delta()) continue;
      found = std::make_unique<ImageFile>(std::move(opened.value()));
      *path = candidate->second;
      if (!found->is_delta()) return found;
    }
  }
  if (found != nullptr) return found;
  std::string message = child_path + " holds only what differs from the snapshot " +
                        Uuid(child.header().parent_id) + ", which is not in";
  for (const std::string& place : places) message += " " + place;
  return Fail(FailureCode::kParent,
              message + tried + ". Put it there, or name its place in `parents`");
}

bool IsOfChain(const ImageFile& frame, const std::string& path) {
  struct stat other {};
  if (sys::Fstatat(AT_FDCWD, path.c_str(), &other, 0) < 0) return false;
  for (const ImageFile* file = &frame; file != nullptr; file = file->parent()) {
    struct stat one {};
    if (sys::Fstat(file->source().fd(), &one) < 0) continue;
    if (one.st_dev == other.st_dev && one.st_ino == other.st_ino) return true;
  }
  return false;
}

Result<ImageFile> OpenFrame(const std::string& path, const std::vector<std::string>& places,
                            const ReadLimits& limits) {
  ParentSearch search(places);
  // In order from the newest file to the full file.
  std::vector<ImageFile> files;
  std::vector<std::string> paths = {path};
  Result<ImageFile> newest = ImageFile::Open(path, limits);
  if (!newest.ok()) return newest;
  files.push_back(std::move(newest.value()));
  while (files.back().is_delta()) {
    if (files.size() == kLongestChain) {
      return Fail(FailureCode::kParent,
                  path + " builds on more than " + std::to_string(kLongestChain) + " files");
    }
    std::string parent_path;
    Result<std::unique_ptr<ImageFile>> parent =
        search.Find(files.back(), paths.back(), limits, &parent_path);
    if (!parent.ok()) return parent.failure();
    files.push_back(std::move(*parent.value()));
    paths.push_back(std::move(parent_path));
  }
  return Assemble(std::move(files), paths);
}

// Opens the files on several threads, since opening one takes several round trips.
Result<ImageFile> OpenFrame(std::vector<NamedSource> chain, const ReadLimits& limits) {
  if (chain.empty() || chain.size() > kLongestChain)
    return Fail(FailureCode::kParent,
                "a frame has 1 to " + std::to_string(kLongestChain) + " files");
  std::vector<std::optional<Result<ImageFile>>> opened(chain.size());
  std::atomic<size_t> next{0};
  const auto open = [&] {
    for (size_t i = next++; i < chain.size(); i = next++) {
      opened[i].emplace(ImageFile::Open(std::move(chain[i].source), limits));
    }
  };
  {
    std::vector<Thread> helpers(std::min(chain.size(), kOpeners) - 1);
    for (Thread& helper : helpers) {
      if (!helper.Start("stillframe-read", open).ok()) break;
    }
    open();
    for (Thread& helper : helpers) helper.Join();
  }
  std::vector<ImageFile> files;
  std::vector<std::string> names;
  for (size_t i = 0; i < chain.size(); i++) {
    if (!opened[i]->ok()) {
      Failure failure = opened[i]->failure();
      if (i > 0) failure.message = "in " + chain[i].name + ": " + failure.message;
      return failure;
    }
    files.push_back(std::move(opened[i]->value()));
    names.push_back(chain[i].name);
    const bool is_last = i + 1 == chain.size();
    if (files[i].is_delta() == is_last)
      return Fail(FailureCode::kParent,
                  chain[i].name + (is_last ? " builds on a file that is not there"
                                           : " builds on no other file"));
    if (i > 0 && !IsParentOf(files[i], files[i - 1])) {
      return Fail(FailureCode::kParent,
                  chain[i].name + " is not what " + chain[i - 1].name + " builds on");
    }
  }
  return Assemble(std::move(files), names);
}

}  // namespace stillframe
