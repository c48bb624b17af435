#include "heap/unforkable.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/mapping.h"
#include "base/scope_guard.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "freeze/flip_lock.h"
#include "image/format.h"

namespace stillframe {
namespace {

// In memory that the probe shares with us.
struct ProbeTalk {
  static constexpr uint32_t kNothingYet = 0x7fffffff;
  std::atomic<uint32_t> asked;
  std::atomic<uint32_t> opened;  // the descriptor, or -errno
};

// On a busy machine the probe may have to wait for a processor.
constexpr int64_t kAnswerNs = 1'000'000'000;

// The probe only waits to be killed, and opens its list of mappings when asked to. All signals are
// blocked in it.
[[noreturn]] void BeProbe(ProbeTalk* talk) {
  sys::Prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // The loop is bounded: if the parent had ended before the line above, the probe would otherwise
  // stay forever.
  bool told = false;
  for (int tenth = 0; tenth < 50; tenth++) {
    const timespec nap{0, 100'000'000};
    // After the report this waits for a value that never comes.
    sys::Futex(&talk->asked, FUTEX_WAIT, told ? 1 : 0, &nap);
    if (told || talk->asked.load(std::memory_order_acquire) == 0) continue;
    told = true;
    const int fd = sys::Open(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    talk->opened.store(static_cast<uint32_t>(fd), std::memory_order_release);
    sys::Futex(&talk->opened, FUTEX_WAKE, 1, nullptr);
  }
  sys::ExitGroup(0);
}

// In a service that has dropped root, the files in /proc about its children belong to root. But
// each process may read its own, and the probe shares our descriptors.
Result<MappingList> AskProbe(ProbeTalk* talk) {
  talk->asked.store(1, std::memory_order_release);
  sys::Futex(&talk->asked, FUTEX_WAKE, 1, nullptr);
  const int64_t end = MonotonicNanoseconds() + kAnswerNs;
  while (talk->opened.load(std::memory_order_acquire) == ProbeTalk::kNothingYet &&
         MonotonicNanoseconds() < end) {
    const timespec nap{0, 10'000'000};
    sys::Futex(&talk->opened, FUTEX_WAIT, ProbeTalk::kNothingYet, &nap);
  }
  const UniqueFd maps(static_cast<int>(talk->opened.load(std::memory_order_acquire)));
  if (maps.valid()) return MappingList::ReadFrom(maps.get());
  return Fail(FailureCode::kIo,
              "cannot read the mappings of a child from /proc (is /proc mounted?)");
}

// A process that is killed loses its memory first; its pidfd becomes readable later.
Result<bool> HasMemory(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/statm", pid);
  const std::optional<std::string> pages = ReadSmallFile(path);
  if (pages) return strtoull(pages->c_str(), nullptr, 10) > 0;
  return Fail(FailureCode::kIo,
              "cannot read the memory of a child from /proc (out of file descriptors?)");
}

// The state that all jobs share. Guarded by the FlipLock.
struct Shared {
  std::vector<AddressRange> marked;  // in ascending order, here and below
  std::vector<AddressRange> found;   // the parts that fork leaves out
  std::vector<UniqueFd> probes;      // killed, and to be waited for
  uint64_t times = 0;                // how often memory has been marked
};

Shared& SharedState() {
  static auto* shared = new Shared;  // never destroyed, like the lock
  return *shared;
}

Result<MappingList> MappingsOfProbe() {
  Result<Mapping> page = Mapping::Anonymous(kPageSize, MAP_SHARED, "a page to ask the probe");
  if (!page.ok()) return page.failure();
  auto* talk = new (page.value().data()) ProbeTalk{{0}, {ProbeTalk::kNothingYet}};
  int pidfd = -1;
  clone_args args{};
  // The probe shares our descriptors instead of having copies: a descriptor that is closed
  // meanwhile is closed there, too.
  args.flags = CLONE_PIDFD | CLONE_FILES;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  int64_t pid = sys::Clone3(&args, sizeof args);
  if (pid == -ENOSYS || pid == -EPERM) pid = sys::Clone(CLONE_PIDFD | CLONE_FILES, &pidfd);
  if (pid == 0) BeProbe(talk);
  if (pid < 0) {
    return SystemFailure("clone", static_cast<int>(-pid), "the kernel refused to fork");
  }
  SharedState().probes.emplace_back(pidfd);
  const ScopeGuard end([&] {
    // Nothing else can get its process id until it has been waited for.
    if (sys::PidfdSendSignal(pidfd, SIGKILL) < 0) kill(static_cast<pid_t>(pid), SIGKILL);
  });
  Result<MappingList> mappings = MappingList::Read(static_cast<pid_t>(pid));
  if (!mappings.ok()) mappings = AskProbe(talk);
  // The list of a process that has been killed is empty, or incomplete. All of our memory would
  // then count as left out, and would be kept from every later child.
  Result<bool> has_memory = HasMemory(static_cast<pid_t>(pid));
  if (!has_memory.ok()) return has_memory.failure();
  if (!has_memory.value()) {
    return Fail(FailureCode::kChildDied,
                "the child that shows which memory is not forked was killed");
  }
  return mappings;
}

void WaitForEnds(const std::vector<UniqueFd>& probes) {
  for (const UniqueFd& probe : probes) {
    siginfo_t info{};
    while (sys::Waitid(P_PIDFD, probe.get(), &info, WEXITED | __WALL) == -EINTR) {
    }
  }
}

void Add(const std::vector<AddressRange>& more, std::vector<AddressRange>* ranges) {
  ranges->insert(ranges->end(), more.begin(), more.end());
  std::sort(ranges->begin(), ranges->end(),
            [](const AddressRange& a, const AddressRange& b) { return a.start < b.start; });
}

// The mark is an advice that hardly anything else gives about memory without a file, and that
// changes only the order in which the kernel reads pages and reclaims them. Memory that is mapped
// later does not have it, and does not get it if there was marked memory before: it may have our
// advice of another job instead of V8's.
void Mark(const std::vector<AddressRange>& ranges) {
  Shared& shared = SharedState();
  shared.times++;
  std::vector<AddressRange> marked;
  for (const AddressRange& range : Difference(ranges, shared.marked)) {
    const int error =
        sys::Madvise(reinterpret_cast<void*>(range.start), range.end - range.start, MADV_RANDOM);
    // MendUnforkable would take memory that could not be marked for memory that was mapped since.
    if (error != -EAGAIN) marked.push_back(range);
  }
  Add(marked, &shared.marked);
}

}  // namespace

Result<std::vector<AddressRange>> FindUnforkable(const std::vector<AddressRange>& keep_out) {
  Shared& shared = SharedState();
  Result<MappingList> ours = MappingList::Read();
  if (!ours.ok()) return ours.failure();
  std::vector<AddressRange> candidates = Difference(ours.value().PrivateAnonymousAreas(), keep_out);
  for (bool again = false;; again = true) {
    Mark(candidates);
    Result<MappingList> probe = MappingsOfProbe();
    if (!probe.ok()) return probe.failure();
    // What was marked before the probe was made, and is missing in it, was not forked.
    const auto missing = Difference(ours.value().PrivateMissingIn(probe.value()), keep_out);
    const auto others = Difference(missing, candidates);
    if (others.empty() || again) {
      std::vector<AddressRange> found = Intersection(missing, candidates);
      Add(Difference(Intersection(found, shared.marked), shared.found), &shared.found);
      return found;
    }
    // Mappings of files are rarely left out. Another thread may have unmapped them just now.
    Add(others, &candidates);
  }
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
    // ENOMEM may also mean that a part is no longer mapped; the rest of the range has then been
    // advised.
    if (error == -EAGAIN) refused.push_back(range);
  }
  return refused;
}

void MendUnforkable() {
  Shared& shared = SharedState();
  std::vector<UniqueFd> probes;
  uint64_t times = 0;
  bool marked = false;
  {
    const std::lock_guard lock(FlipLock());
    probes.swap(shared.probes);
    times = shared.times;
    marked = !shared.marked.empty();
  }
  WaitForEnds(probes);
  if (!marked) return;
  // Read without the lock, since the next job would have to wait for it.
  Result<std::vector<AdvisedMapping>> mappings = ReadAdvice();
  const std::lock_guard lock(FlipLock());
  // Another job has begun meanwhile; it also mends what this one would have mended.
  if (shared.times != times) return;
  if (mappings.ok()) {
    std::vector<AddressRange> mapped_since;
    for (const AdvisedMapping& each : mappings.value()) {
      if (each.dont_fork && !each.random) mapped_since.push_back(each.range);
    }
    MakeForkable(Intersection(shared.found, mapped_since));
  }
  for (const AddressRange& range : shared.marked) {
    sys::Madvise(reinterpret_cast<void*>(range.start), range.end - range.start, MADV_NORMAL);
  }
  shared.marked.clear();
  shared.found.clear();
}

void FillMissing(int maps_of_parent, const std::vector<AddressRange>& keep_out) {
  Result<MappingList> theirs = MappingList::ReadFrom(maps_of_parent);
  Result<MappingList> own = MappingList::Read();
  // Without the lists nothing is filled in. It is rare that V8 comes across such memory, and then
  // there is another attempt.
  if (!theirs.ok() || !own.ok()) return;
  // Address space costs nothing, but the kernel may account for memory that is writable
  // (vm.overcommit_memory).
  for (const AddressRange& range :
       Difference(theirs.value().PrivateMissingIn(own.value()), keep_out)) {
    sys::Mmap(reinterpret_cast<void*>(range.start), range.end - range.start, PROT_NONE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  }
  for (const AddressRange& range :
       Difference(theirs.value().ReadableMissingIn(own.value()), keep_out)) {
    sys::Mprotect(reinterpret_cast<void*>(range.start), range.end - range.start,
                  PROT_READ | PROT_WRITE);
  }
}

}  // namespace stillframe
