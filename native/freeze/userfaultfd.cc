#include "freeze/userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cerrno>
#include <utility>

#include "base/disabled_steps.h"
#include "base/sys.h"
#include "freeze/fault_router.h"
#include "memory/page.h"

// Newer than the headers of Debian 12 (Linux 6.1).
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

namespace stillframe {
namespace {

// On arm64, write protection arrived after the protection of pages that were never touched.
#if defined(__aarch64__)
constexpr const char* kProtectsSince = "Linux 6.10";
#else
constexpr const char* kProtectsSince = "Linux 6.4";
#endif

constexpr timespec kBreath{0, 1'000'000};
// Failures in a row to read faults that count as temporary.
constexpr int kUnreadInPassing = 100;
// The same for a change of protection that another change of the address space or a
// signal interrupted.
constexpr int kTriesAtOnce = 1000;

// 0, or -errno.
int Negotiate(int fd, FaultVariant variant) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED;
  if (variant == FaultVariant::kSignal) api.features |= UFFD_FEATURE_SIGBUS;
  return sys::Ioctl(fd, UFFDIO_API, reinterpret_cast<uint64_t>(&api));
}

std::string WhyNot(int error, FaultVariant variant) {
  if (error == EPERM && variant == FaultVariant::kThread) {
    return "not allowed to see faults of the kernel: needs CAP_SYS_PTRACE, or sysctl "
           "vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd; or say kernelWrites: "
           "false";
  }
  if (error == EPERM) {
    return "userfaultfd is not allowed: by a seccomp filter, by a security module or, before Linux "
           "5.11, by vm.unprivileged_userfaultfd=0";
  }
  if (error == ENOSYS)
    return "the kernel has no userfaultfd (CONFIG_USERFAULTFD), or a filter hides it";
  if (error == EINVAL)
    return std::string("this kernel's userfaultfd cannot protect never-touched pages (") +
           kProtectsSince + " or newer)";
  return "userfaultfd failed with errno " + std::to_string(error);
}

int ChangeProtection(int fd, std::byte* start, size_t length, uint64_t mode) {
  for (int tries = 1;; tries++) {
    uffdio_writeprotect change{};
    change.range.start = reinterpret_cast<uint64_t>(start);
    change.range.len = RoundUp(length, SystemPageSize());
    change.mode = mode;
    const int error = sys::Ioctl(fd, UFFDIO_WRITEPROTECT, reinterpret_cast<uint64_t>(&change));
    if ((error != -EAGAIN && error != -EINTR) || tries == kTriesAtOnce) return error;
  }
}

}  // namespace

int OpenUserfaultfd(FaultVariant variant) {
  if (StepDisabled("userfaultfd")) return -ENOSYS;
  const unsigned flags = O_CLOEXEC | O_NONBLOCK;
  if (variant == FaultVariant::kSignal) return sys::Userfaultfd(flags | UFFD_USER_MODE_ONLY);
  if (StepDisabled("userfaultfd_thread")) return -EPERM;
  const int fd = sys::Userfaultfd(flags);
  if (fd != -EPERM) return fd;
  const UniqueFd device(sys::Open(AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0));
  return device.valid() ? sys::Ioctl(device.get(), USERFAULTFD_IOC_NEW, flags) : -EPERM;
}

Feature Userfaultfd::Probe(FaultVariant variant) {
  Feature feature;
  feature.name = variant == FaultVariant::kThread ? "userfaultfd_thread" : "userfaultfd_signal";
  const UniqueFd fd(OpenUserfaultfd(variant));
  const int error = fd.valid() ? Negotiate(fd.get(), variant) : fd.get();
  feature.available = error >= 0;
  if (!feature.available) feature.reason = WhyNot(-error, variant);
  if (error == -EPERM && variant == FaultVariant::kThread) {
    // The user must not be asked for a privilege that would be useless on this kernel.
    const Feature without_right = Probe(FaultVariant::kSignal);
    if (!without_right.available) feature.reason = without_right.reason;
  }
  feature.passing = error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EINTR;
  return feature;
}

Status Userfaultfd::Open(FaultVariant variant) {
  const int fd = OpenUserfaultfd(variant);
  const int error = fd >= 0 ? Negotiate(fd, variant) : fd;
  if (fd >= 0) faults_.Reset(fd);
  if (error < 0) {
    Failure failure = SystemFailure("userfaultfd", -error, WhyNot(-error, variant));
    failure.code = FailureCode::kEngineUnavailable;
    return failure;
  }
  const int end = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (end < 0) return SystemFailure("eventfd2", -end, "cannot prepare the handling of faults");
  end_.Reset(end);
  return Success{};
}

Status Userfaultfd::Register(std::byte* start, size_t length) {
  uffdio_register range{};
  range.range.start = reinterpret_cast<uint64_t>(start);
  range.range.len = RoundUp(length, SystemPageSize());
  range.mode = UFFDIO_REGISTER_MODE_WP;
  const int refused =
      sys::Ioctl(faults_.get(), UFFDIO_REGISTER, reinterpret_cast<uint64_t>(&range));
  if (refused >= 0) {
    registered_.push_back({start, range.range.len});
    return Success{};
  }
  // EBUSY means that another userfaultfd has the memory, either ours of another
  // capture or the host's.
  const bool busy = refused == -EBUSY;
  Failure failure =
      SystemFailure("ioctl", -refused,
                    busy ? kAlreadyProtected
                         : "userfaultfd does not take a source's memory: it must be anonymous "
                           "(a region restored with mode 'map' is not)");
  failure.code = busy ? FailureCode::kBusy : FailureCode::kEngineUnavailable;
  return failure;
}

Status Userfaultfd::Answer(Answers answers) {
  answers_ = std::move(answers);
  return thread_.Start("stillframe-flt", [this] { AnswerFaults(); });
}

void Userfaultfd::AnswerFaults() {
  int unread = 0;
  for (;;) {
    pollfd events[2] = {{faults_.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}};
    // Looks again now and then, in case the call fails or an event is lost.
    const timespec patience{0, 100'000'000};
    if (sys::Ppoll(events, 2, &patience) < 0) nanosleep(&kBreath, nullptr);
    if (ending_.load(std::memory_order_acquire) || dropped()) return;
    uffd_msg message{};
    int64_t got = 0;
    while ((got = sys::Read(faults_.get(), &message, sizeof message)) == sizeof message) {
      // This is a fault, since no other event was requested. Lifting the protection wakes the
      // threads that wait for the page.
      answers_.fault(reinterpret_cast<const void*>(message.arg.pagefault.address));
    }
    if (got >= 0 || got == -EAGAIN || got == -EINTR) {
      unread = 0;
    } else if (++unread > kUnreadInPassing) {
      answers_.unreadable(static_cast<int>(-got));
      return;
    } else {
      nanosleep(&kBreath, nullptr);
    }
  }
}

int Userfaultfd::Protect(std::byte* start, size_t length) {
  return ChangeProtection(faults_.get(), start, length, UFFDIO_WRITEPROTECT_MODE_WP);
}

int Userfaultfd::Lift(std::byte* start, size_t length) {
  const int error = ChangeProtection(faults_.get(), start, length, 0);
  return dropped() ? 0 : error;
}

void Userfaultfd::DropAll() {
  dropped_.store(true, std::memory_order_release);
  // A userfaultfd goes away with its last descriptor, and all its protection with it; waiting
  // threads are woken. The descriptor number stays ours, since other threads may be using it at
  // this moment. A process that was forked a moment ago may still hold a descriptor, so the memory
  // is unregistered first.
  Unregister();
  sys::Dup3(end_.get(), faults_.get(), O_CLOEXEC);
  const uint64_t one = 1;
  sys::Write(end_.get(), &one, sizeof one);
}

void Userfaultfd::Unregister() {
  for (const Range& registered : registered_) {
    uffdio_range range{reinterpret_cast<uint64_t>(registered.start), registered.length};
    sys::Ioctl(faults_.get(), UFFDIO_UNREGISTER, reinterpret_cast<uint64_t>(&range));
  }
}

void Userfaultfd::End() {
  ending_.store(true, std::memory_order_release);
  const uint64_t one = 1;
  if (end_.valid()) sys::Write(end_.get(), &one, sizeof one);
  thread_.Join();
  Unregister();
  registered_.clear();
  faults_.Reset();
}

}  // namespace stillframe
