#include "heap/unforkable.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "base/scope_guard.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "base/unique_fd.h"

namespace stillframe {
namespace {

// Does nothing until it is killed. All signals are blocked in it.
[[noreturn]] void BeProbe() {
  sys::Prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // Should the parent have gone before that line, the copy must not stay for ever.
  for (int tenth = 0; tenth < 50; tenth++) {
    const timespec nap{0, 100'000'000};
    sys::Ppoll(nullptr, 0, &nap);
  }
  sys::ExitGroup(0);
}

// A process that is killed loses its memory first, and its pidfd becomes readable later.
bool HasMemory(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/statm", pid);
  const std::optional<std::string> pages = ReadSmallFile(path);
  return pages && strtoull(pages->c_str(), nullptr, 10) > 0;
}

Result<MappingList> MappingsOfProbe() {
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  int64_t pid = sys::Clone3(&args, sizeof args);
  if (pid == -ENOSYS || pid == -EPERM) pid = sys::Clone(CLONE_PIDFD, &pidfd);
  if (pid == 0) BeProbe();
  if (pid < 0) {
    return SystemFailure("clone", static_cast<int>(-pid), "the kernel refused to fork");
  }
  const UniqueFd owned(pidfd);
  const ScopeGuard reap([&] {
    sys::PidfdSendSignal(pidfd, SIGKILL);
    siginfo_t info{};
    while (sys::Waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL) == -EINTR) {
    }
  });
  Result<MappingList> mappings = MappingList::Read(static_cast<pid_t>(pid));
  // The list of one that has been killed is empty, or ends early. All of ours would be taken for left out, and then be
  // kept from every later child.
  if (!HasMemory(static_cast<pid_t>(pid))) {
    Failure failure;
    failure.code = FailureCode::kChildDied;
    failure.message = "the child that shows which memory is not forked was killed";
    return failure;
  }
  return mappings;
}

}  // namespace

Result<std::vector<AddressRange>> FindUnforkable(const std::vector<AddressRange>& keep_out) {
  // Ours before and after: what another thread maps or unmaps just then is not taken for left out. Advising against
  // forking what is not V8's would break the children of child_process.
  Result<MappingList> before = MappingList::Read();
  if (!before.ok()) return before.failure();
  Result<MappingList> probe = MappingsOfProbe();
  if (!probe.ok()) return probe.failure();
  Result<MappingList> after = MappingList::Read();
  if (!after.ok()) return after.failure();
  const auto left_out = Intersection(before.value().PrivateMissingIn(probe.value()),
                                     after.value().PrivateMissingIn(probe.value()));
  return Difference(left_out, keep_out);
}

void MakeForkable(const std::vector<AddressRange>& ranges) {
  for (const AddressRange& range : ranges) {
    sys::Madvise(reinterpret_cast<void*>(range.start), range.end - range.start, MADV_DOFORK);
  }
}

std::vector<AddressRange> MakeUnforkable(const std::vector<AddressRange>& ranges) {
  std::vector<AddressRange> refused;
  for (const AddressRange& range : ranges) {
    const int error =
        sys::Madvise(reinterpret_cast<void*>(range.start), range.end - range.start, MADV_DONTFORK);
    // ENOMEM also says that a part is not mapped any more; the rest of the range has been advised then.
    if (error == -EAGAIN) refused.push_back(range);
  }
  return refused;
}

}  // namespace stillframe
