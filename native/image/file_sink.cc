#include "image/file_sink.h"

#include "base/sys.h"
#include "publish/write_some.h"

namespace stillframe {

int64_t FileSink::Write(const std::byte* bytes, uint64_t length, uint64_t offset) {
  return WriteSome(fd_, bytes, length, offset);
}

void FileSink::Extend(uint64_t length) { (void)sys::Ftruncate(fd_, length); }

}  // namespace stillframe
