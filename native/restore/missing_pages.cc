#include "restore/missing_pages.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cerrno>
#include <string>

#include "base/arithmetic.h"
#include "base/sys.h"
#include "freeze/userfaultfd.h"
#include "memory/page.h"

namespace stillframe {
namespace {

// How often to repeat a call that a change of the address space has interrupted.
constexpr int kTries = 10'000;
// The same for failures in a row to read faults, with a rest between two tries.
constexpr int kUnreadInPassing = 100;
constexpr timespec kBreath{0, 1'000'000};

// 0, or -errno.
int Negotiate(int fd) {
  uffdio_api api{};
  api.api = UFFD_API;
  return sys::Ioctl(fd, UFFDIO_API, reinterpret_cast<uint64_t>(&api));
}

// A descriptor, or -errno.
int Open() {
  const int all = OpenUserfaultfd(FaultVariant::kThread);
  return all == -EPERM ? OpenUserfaultfd(FaultVariant::kSignal) : all;
}

std::string WhyNot(int error) {
  const std::string what = "memory that is filled when it is touched needs userfaultfd: ";
  if (error == EPERM) {
    return what +
           "it is not allowed by a seccomp filter, by a security module or, before Linux 5.11, by "
           "vm.unprivileged_userfaultfd=0";
  }
  if (error == ENOSYS)
    return what + "the kernel has none (CONFIG_USERFAULTFD), or a filter hides it";
  return what + "it failed with errno " + std::to_string(error);
}

}  // namespace

Result<std::unique_ptr<MissingPages>> MissingPages::Create() {
  std::unique_ptr<MissingPages> made(new MissingPages);
  const int fd = Open();
  if (fd >= 0) made->faults_.Reset(fd);
  const int error = fd >= 0 ? Negotiate(fd) : fd;
  if (error < 0) {
    Failure failure =
        SystemFailure("userfaultfd", -error, WhyNot(-error) + ". Restore with another mode");
    failure.code = FailureCode::kEngineUnavailable;
    return failure;
  }
  const int stop = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop < 0) return SystemFailure("eventfd2", -stop, "cannot prepare the handling of faults");
  made->stop_.Reset(stop);
  return made;
}

Status MissingPages::Register(std::byte* start, size_t length) {
  uffdio_register range{};
  range.range.start = reinterpret_cast<uint64_t>(start);
  range.range.len = RoundUp(length, SystemPageSize());
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  const int error = sys::Ioctl(faults_.get(), UFFDIO_REGISTER, reinterpret_cast<uint64_t>(&range));
  if (error < 0)
    return SystemFailure("ioctl", -error, "userfaultfd does not take the memory of a region");
  registered_.push_back({start, range.range.len});
  return Success{};
}

std::optional<std::byte*> MissingPages::NextTouch() {
  for (int unread = 0; unread < kUnreadInPassing;) {
    pollfd events[2] = {{faults_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    // Looks again now and then, in case the call fails or an event is lost.
    const timespec patience{0, 100'000'000};
    if (sys::Ppoll(events, 2, &patience) < 0) nanosleep(&kBreath, nullptr);
    if ((events[1].revents & POLLIN) != 0) return std::nullopt;
    uffd_msg message{};
    const int64_t got = sys::Read(faults_.get(), &message, sizeof message);
    // This is a fault, since no other event was requested.
    if (got == sizeof message) return reinterpret_cast<std::byte*>(message.arg.pagefault.address);
    if (got >= 0 || got == -EAGAIN || got == -EINTR) {
      unread = 0;
      continue;
    }
    unread++;
    nanosleep(&kBreath, nullptr);
  }
  failed_ = true;
  return std::nullopt;
}

void MissingPages::Stop() {
  const uint64_t one = 1;
  sys::Write(stop_.get(), &one, sizeof one);
}

int MissingPages::Fill(std::byte* to, const std::byte* from, size_t length) {
  const size_t page = SystemPageSize();
  size_t done = 0;
  for (int tries = 0; done < length;) {
    uffdio_copy copy{};
    copy.dst = reinterpret_cast<uint64_t>(to + done);
    copy.src = reinterpret_cast<uint64_t>(from + done);
    copy.len = length - done;
    const int error = sys::Ioctl(faults_.get(), UFFDIO_COPY, reinterpret_cast<uint64_t>(&copy));
    if (error >= 0) return 0;
    if (copy.copy > 0) {
      done += static_cast<size_t>(copy.copy);
    } else if (error == -EEXIST) {
      done += page;
    } else if ((error != -EAGAIN && error != -EINTR) || ++tries == kTries) {
      return error;
    }
  }
  return 0;
}

int MissingPages::FillWithZeros(std::byte* to, size_t length) {
  const size_t page = SystemPageSize();
  size_t done = 0;
  for (int tries = 0; done < length;) {
    uffdio_zeropage zeros{};
    zeros.range.start = reinterpret_cast<uint64_t>(to + done);
    zeros.range.len = length - done;
    const int error =
        sys::Ioctl(faults_.get(), UFFDIO_ZEROPAGE, reinterpret_cast<uint64_t>(&zeros));
    if (error >= 0) return 0;
    if (zeros.zeropage > 0) {
      done += static_cast<size_t>(zeros.zeropage);
    } else if (error == -EEXIST) {
      done += page;
    } else if ((error != -EAGAIN && error != -EINTR) || ++tries == kTries) {
      return error;
    }
  }
  return 0;
}

void MissingPages::Wake(std::byte* start, size_t length) {
  uffdio_range range{};
  range.start = reinterpret_cast<uint64_t>(start);
  range.len = length;
  sys::Ioctl(faults_.get(), UFFDIO_WAKE, reinterpret_cast<uint64_t>(&range));
}

void MissingPages::End() {
  // A process that was forked a moment ago may still hold a descriptor, so closing
  // ours is not enough.
  for (const Range& registered : registered_) {
    uffdio_range range{};
    range.start = reinterpret_cast<uint64_t>(registered.start);
    range.len = registered.length;
    sys::Ioctl(faults_.get(), UFFDIO_UNREGISTER, reinterpret_cast<uint64_t>(&range));
  }
  registered_.clear();
  faults_.Reset();
}

}  // namespace stillframe
