#include "image/file_source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/disabled_steps.h"
#include "base/sys.h"
#include "image/format.h"
#include "image/read_failure.h"
#include "memory/page.h"

namespace stillframe {

Result<std::unique_ptr<FileSource>> FileSource::Open(const std::string& path) {
  std::unique_ptr<FileSource> source(new FileSource);
  // O_NONBLOCK, since opening a FIFO would otherwise wait for a writer.
  const int fd = sys::Open(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
  if (fd < 0) return SystemFailure("open", -fd, "cannot open the snapshot file");
  source->file_.Reset(fd);
  struct stat about {};
  if (const int error = sys::Fstat(fd, &about); error < 0) {
    return SystemFailure("fstat", -error, "cannot examine the snapshot file");
  }
  if (S_ISDIR(about.st_mode)) {
    return SystemFailure("open", EISDIR, "this is a directory, not a snapshot file");
  }
  if (!S_ISREG(about.st_mode)) {
    return Fail(FailureCode::kFormat, "this is not a regular file, so it is not a snapshot");
  }
  source->length_ = static_cast<uint64_t>(about.st_size);
  source->allocated_bytes_ = static_cast<uint64_t>(about.st_blocks) * 512;
  return source;
}

Status FileSource::Read(std::byte* out, uint64_t length, uint64_t offset,
                        const std::string& section) const {
  uint64_t done = 0;
  while (done < length) {
    const int64_t got = sys::Pread(file_.get(), out + done, length - done, offset + done);
    if (got == -EINTR) continue;
    if (got < 0)
      return SystemFailure("pread", static_cast<int>(-got), "cannot read the snapshot file");
    if (got == 0) return Corrupt(offset + done, section, "the file ends here: it is truncated");
    done += static_cast<uint64_t>(got);
  }
  return Success{};
}

Status FileSource::ReadMuch(std::byte* out, uint64_t length, uint64_t offset,
                            const std::string& section) const {
  const bool aligned = reinterpret_cast<uintptr_t>(out) % kPageSize == 0 &&
                       length % kPageSize == 0 && offset % kPageSize == 0;
  uint64_t done = 0;
  if (direct_.valid() && aligned && !IsCached(offset, length)) {
    while (done < length) {
      const int64_t got = sys::Pread(direct_.get(), out + done, length - done, offset + done);
      if (got == -EINTR) continue;
      // Some filesystems refuse O_DIRECT only when reading. That case and the end of
      // the file are left to Read().
      if (got <= 0 || static_cast<uint64_t>(got) % kPageSize != 0) break;
      done += static_cast<uint64_t>(got);
    }
  }
  return done == length ? Status(Success{})
                        : Read(out + done, length - done, offset + done, section);
}

bool FileSource::IsCached(uint64_t offset, uint64_t length) const {
  if (cache_probe_.data() == nullptr) return false;
  unsigned char resident[kChunkSize / kPageSize + 2];
  const uint64_t page = SystemPageSize();
  const uint64_t first = RoundDown(offset, page);
  const uint64_t pages = DivideRoundingUp(offset + length - first, page);
  if (pages > sizeof resident) return false;
  if (sys::Mincore(cache_probe_.data() + first, pages * page, resident) < 0) return false;
  const auto cached =
      std::count_if(resident, resident + pages, [](unsigned char each) { return (each & 1) != 0; });
  return static_cast<uint64_t>(cached) * 2 > pages;
}

void FileSource::PrepareForMuch() {
  if (StepDisabled("o_direct")) return;
  // Reopens the descriptor, because the path may name another file by now.
  const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
  const int fd = sys::Open(AT_FDCWD, self.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT, 0);
  if (fd < 0) return;
  direct_ = DirectReader(fd);
  void* probe = sys::Mmap(nullptr, length_, PROT_NONE, MAP_SHARED, file_.get(), 0);
  if (!sys::IsError(probe)) cache_probe_ = Mapping(probe, length_);
}

// A filesystem that cannot tell reports that the only hole is after the end of the file.
uint64_t FileSource::NextHole(uint64_t offset, uint64_t end) const {
  const int64_t hole = sys::Lseek(file_.get(), static_cast<int64_t>(offset), SEEK_HOLE);
  return hole < 0 ? end : std::min(static_cast<uint64_t>(hole), end);
}

uint64_t FileSource::NextData(uint64_t offset, uint64_t end) const {
  const int64_t data = sys::Lseek(file_.get(), static_cast<int64_t>(offset), SEEK_DATA);
  if (data == -ENXIO) return end;
  return data < 0 ? offset : std::min(static_cast<uint64_t>(data), end);
}

}  // namespace stillframe
