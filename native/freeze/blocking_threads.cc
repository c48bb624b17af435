#include "freeze/blocking_threads.h"

#include <dirent.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "base/small_file.h"
#include "base/sys.h"

namespace stillframe {
namespace {

// Age at which a thread has done what threads do when they start, and how long it then counts as
// blocking neither signal.
constexpr int64_t kSettledNs = 100'000'000;
constexpr int64_t kKnownNs = 2'000'000'000;

constexpr uint64_t Bit(int number) { return uint64_t{1} << (number - 1); }

struct SeenThread {
  int64_t first_seen_ns = 0;
  uint64_t blocked = 0;
  bool BlocksOurs() const { return (blocked & (Bit(SIGSEGV) | Bit(SIGBUS))) != 0; }
};

// Result of the last LookAtThreads().
struct Look {
  int64_t at_ns = 0;
  std::map<int, SeenThread> threads;

  bool Knows(int tid, int64_t now_ns) const {
    const auto found = threads.find(tid);
    return found != threads.end() && !found->second.BlocksOurs() &&
           at_ns - found->second.first_seen_ns >= kSettledNs && now_ns - at_ns <= kKnownNs;
  }
};

std::mutex& Lock() {
  static auto* lock = new std::mutex;
  return *lock;
}

Look& LastLook() {
  static auto* look = new Look;
  return *look;
}

std::set<int>& QuietThreads() {
  static auto* threads = new std::set<int>;
  return *threads;
}

// Calls each(tid) for the threads of the process.
template <typename Each>
void ForEachThread(Each each) {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return;
  while (const dirent* entry = readdir(tasks)) {
    const int tid = atoi(entry->d_name);
    if (tid > 0) each(tid);
  }
  closedir(tasks);
}

struct ThreadStatus {
  uint64_t blocked;
  std::string name;
};

// Empty if the thread has ended.
std::optional<ThreadStatus> StatusOf(int tid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
  const auto status = ReadSmallFile(path);
  if (!status) return std::nullopt;
  const size_t line = status->find("\nSigBlk:");
  if (line == std::string::npos) return std::nullopt;
  const uint64_t blocked = strtoull(status->c_str() + line + 8, nullptr, 16);
  return ThreadStatus{blocked, status->substr(6, status->find('\n') - 6)};
}

}  // namespace

std::string ThreadThatBlocks(FaultSignal signal) {
  const uint64_t bit = Bit(signal == FaultSignal::kSegv ? SIGSEGV : SIGBUS);
  const int64_t now_ns = sys::MonotonicNanoseconds();
  std::string found;
  const std::lock_guard lock(Lock());
  ForEachThread([&](int tid) {
    if (!found.empty() || LastLook().Knows(tid, now_ns) || QuietThreads().count(tid) != 0) return;
    const std::optional<ThreadStatus> status = StatusOf(tid);
    if (!status || (status->blocked & bit) == 0) return;
    // Signal 32 belongs to the C library. Only the C library blocks it, together with all other
    // signals, while a thread starts or ends. Such a thread is not writing.
    if ((status->blocked & Bit(32)) != 0) return;
    found = "'" + status->name + "' (" + std::to_string(tid) + ")";
  });
  return found;
}

void NoteQuietThreads() {
  // Node's inspector thread blocks every signal and waits for one. It exists before any addon is
  // loaded. The first real-time signals belong to the C library: two in glibc, three in musl.
  const uint64_t all_that_can_be = ~(Bit(SIGKILL) | Bit(SIGSTOP) | Bit(32) | Bit(33) | Bit(34));
  LookAtThreads();
  const std::lock_guard lock(Lock());
  for (const auto& [tid, thread] : LastLook().threads) {
    if ((thread.blocked & all_that_can_be) == all_that_can_be) QuietThreads().insert(tid);
  }
}

void LookAtThreads() {
  Look look{sys::MonotonicNanoseconds(), {}};
  ForEachThread([&](int tid) {
    if (const std::optional<ThreadStatus> status = StatusOf(tid)) {
      look.threads.emplace(tid, SeenThread{look.at_ns, status->blocked});
    }
  });
  const std::lock_guard lock(Lock());
  for (auto& [tid, thread] : look.threads) {
    const auto before = LastLook().threads.find(tid);
    if (before != LastLook().threads.end()) thread.first_seen_ns = before->second.first_seen_ns;
  }
  LastLook() = std::move(look);
}

}  // namespace stillframe
