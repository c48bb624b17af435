#include "base/sys.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <type_traits>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace stillframe::sys {
namespace {

constexpr const char* kCallNames[] = {
    "clone",          "clone3",      "close",
    "close_range",    "eventfd2",    "fcntl",
    "fchmod",         "flock",       "fork",
    "fstat",          "fstatat",     "fstatfs",
    "fsync",          "ftruncate",   "futex",
    "getrandom",      "ioctl",       "linkat",
    "lseek",          "madvise",     "mincore",
    "mmap",           "mprotect",    "munmap",
    "openat",         "pidfd_open",  "pidfd_send_signal",
    "pipe2",          "ppoll",       "prctl",
    "pread",          "pwrite",      "read",
    "renameat2",      "setpgid",     "rt_sigaction",
    "rt_sigprocmask", "statx",       "sync_file_range",
    "unlinkat",       "userfaultfd", "waitid",
    "write",
};
constexpr size_t kCallCount = static_cast<size_t>(Call::kCount);
static_assert(sizeof(kCallNames) / sizeof(kCallNames[0]) == kCallCount);

struct Fault {
  std::atomic<uint32_t> reached{0};
  std::atomic<uint32_t> nth{0};  // 0: no fault
  std::atomic<int> error_number{0};
  std::atomic<bool> forever{false};
};
// Only tests write these. All threads read them, and forked children read their own copy.
std::atomic<bool> faults_armed{false};
Fault faults[kCallCount];

#if defined(__x86_64__)
inline int64_t Raw(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f) {
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  register uint64_t r9 asm("r9") = f;
  int64_t result = 0;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
inline int64_t Raw(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f) {
  register int64_t x8 asm("x8") = number;
  register uint64_t x0 asm("x0") = a;
  register uint64_t x1 asm("x1") = b;
  register uint64_t x2 asm("x2") = c;
  register uint64_t x3 asm("x3") = d;
  register uint64_t x4 asm("x4") = e;
  register uint64_t x5 asm("x5") = f;
  asm volatile("svc #0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory", "cc");
  return static_cast<int64_t>(x0);
}
#else
#error "stillframe supports Linux on x64 and arm64"
#endif

// The errno that a test has injected for this call, or 0.
int InjectedError(Call call) {
  if (!faults_armed.load(std::memory_order_relaxed)) return 0;
  Fault& fault = faults[static_cast<size_t>(call)];
  const uint32_t reached = fault.reached.fetch_add(1, std::memory_order_relaxed) + 1;
  const uint32_t nth = fault.nth.load(std::memory_order_relaxed);
  if (nth == 0 || reached < nth) return 0;
  if (reached > nth && !fault.forever.load(std::memory_order_relaxed)) return 0;
  return fault.error_number.load(std::memory_order_relaxed);
}

template <typename T>
uint64_t Word(T value) {
  if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<uint64_t>(value);
  } else {
    return static_cast<uint64_t>(value);
  }
}

template <typename A = int, typename B = int, typename C = int, typename D = int, typename E = int,
          typename F = int>
inline int64_t Invoke(Call call, int64_t number, A a = 0, B b = 0, C c = 0, D d = 0, E e = 0,
                      F f = 0) {
  if (const int error = InjectedError(call)) return error == kAnswersNothing ? 0 : -error;
  return Raw(number, Word(a), Word(b), Word(c), Word(d), Word(e), Word(f));
}

}  // namespace

bool InjectFault(const char* call_name, uint32_t nth, int error_number, bool forever) {
  for (size_t i = 0; i < kCallCount; i++) {
    if (strcmp(kCallNames[i], call_name) != 0) continue;
    faults[i].reached = 0;
    faults[i].error_number = error_number;
    faults[i].forever = forever;
    faults[i].nth = nth;
    faults_armed = true;
    return true;
  }
  return false;
}

void ClearFaults() {
  faults_armed = false;
  for (Fault& fault : faults) {
    fault.nth = 0;
    fault.reached = 0;
  }
}

const char* CallName(Call call) { return kCallNames[static_cast<size_t>(call)]; }
uint32_t CallCount(Call call) { return faults[static_cast<size_t>(call)].reached; }

int Open(int directory_fd, const char* path, int flags, mode_t mode) {
  return static_cast<int>(Invoke(Call::kOpenat, SYS_openat, directory_fd, path, flags, mode));
}
int Close(int fd) { return static_cast<int>(Invoke(Call::kClose, SYS_close, fd)); }
int64_t Pread(int fd, void* buffer, size_t length, uint64_t offset) {
  return Invoke(Call::kPread, SYS_pread64, fd, buffer, length, offset);
}
int64_t Pwrite(int fd, const void* buffer, size_t length, uint64_t offset) {
  return Invoke(Call::kPwrite, SYS_pwrite64, fd, buffer, length, offset);
}
int64_t Read(int fd, void* buffer, size_t length) {
  return Invoke(Call::kRead, SYS_read, fd, buffer, length);
}
int64_t Write(int fd, const void* buffer, size_t length) {
  return Invoke(Call::kWrite, SYS_write, fd, buffer, length);
}
int64_t Lseek(int fd, int64_t offset, int whence) {
  return Invoke(Call::kLseek, SYS_lseek, fd, offset, whence);
}
int Fsync(int fd) { return static_cast<int>(Invoke(Call::kFsync, SYS_fsync, fd)); }
int SyncFileRange(int fd, uint64_t offset, uint64_t length, unsigned flags) {
  return static_cast<int>(
      Invoke(Call::kSyncFileRange, SYS_sync_file_range, fd, offset, length, flags));
}
int Fstat(int fd, struct stat* out) {
  return static_cast<int>(Invoke(Call::kFstat, SYS_fstat, fd, out));
}
int Fstatat(int directory_fd, const char* path, struct stat* out, int flags) {
  return static_cast<int>(Invoke(Call::kFstatat, SYS_newfstatat, directory_fd, path, out, flags));
}
int Statx(int directory_fd, const char* path, int flags, unsigned mask, struct statx* out) {
  return static_cast<int>(Invoke(Call::kStatx, SYS_statx, directory_fd, path, flags, mask, out));
}
int Fstatfs(int fd, struct statfs* out) {
  return static_cast<int>(Invoke(Call::kFstatfs, SYS_fstatfs, fd, out));
}
int Fchmod(int fd, mode_t mode) {
  return static_cast<int>(Invoke(Call::kFchmod, SYS_fchmod, fd, mode));
}
int Fcntl(int fd, int command, uint64_t argument) {
  return static_cast<int>(Invoke(Call::kFcntl, SYS_fcntl, fd, command, argument));
}
int Dup3(int from, int to, int flags) {
  return static_cast<int>(Raw(SYS_dup3, Word(from), Word(to), Word(flags), 0, 0, 0));
}
int Flock(int fd, int operation) {
  return static_cast<int>(Invoke(Call::kFlock, SYS_flock, fd, operation));
}
int Linkat(int from_fd, const char* from, int to_fd, const char* to, int flags) {
  return static_cast<int>(Invoke(Call::kLinkat, SYS_linkat, from_fd, from, to_fd, to, flags));
}
int Renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) {
  return static_cast<int>(Invoke(Call::kRenameat2, SYS_renameat2, from_fd, from, to_fd, to, flags));
}
int Unlinkat(int directory_fd, const char* path, int flags) {
  return static_cast<int>(Invoke(Call::kUnlinkat, SYS_unlinkat, directory_fd, path, flags));
}
int64_t Getrandom(void* buffer, size_t length) {
  return Invoke(Call::kGetrandom, SYS_getrandom, buffer, length, 0);
}
int Pipe2(int fds[2], int flags) {
  return static_cast<int>(Invoke(Call::kPipe2, SYS_pipe2, fds, flags));
}
int Eventfd(unsigned initial, int flags) {
  return static_cast<int>(Invoke(Call::kEventfd, SYS_eventfd2, initial, flags));
}
int Ppoll(pollfd* fds, size_t count, const timespec* timeout) {
  timespec remaining = timeout != nullptr ? *timeout : timespec{};
  return static_cast<int>(
      Invoke(Call::kPpoll, SYS_ppoll, fds, count, timeout != nullptr ? &remaining : nullptr, 0, 8));
}

// TSan has to see mappings come and go, and it only sees those made through the C library.
// Otherwise it would report a race between two threads that used the same address one after the
// other.
#if defined(__SANITIZE_THREAD__)
constexpr bool kMapThroughLibc = true;
#else
constexpr bool kMapThroughLibc = false;
#endif

void* Mmap(void* address, size_t length, int protection, int flags, int fd, uint64_t offset) {
  if (kMapThroughLibc) {
    int64_t error = InjectedError(Call::kMmap);
    if (error == 0) {
      void* mapped = mmap(address, length, protection, flags, fd, static_cast<off_t>(offset));
      if (mapped != MAP_FAILED) return mapped;
      error = errno;
    }
    return reinterpret_cast<void*>(-error);
  }
  return reinterpret_cast<void*>(Invoke(Call::kMmap, SYS_mmap, address, length, protection, flags,
                                        static_cast<int64_t>(fd), offset));
}
bool IsError(const void* mmap_result) {
  return reinterpret_cast<uint64_t>(mmap_result) >= static_cast<uint64_t>(-4095);
}
int Munmap(void* address, size_t length) {
  if (kMapThroughLibc) {
    if (const int error = InjectedError(Call::kMunmap)) return -error;
    return munmap(address, length) == 0 ? 0 : -errno;
  }
#if defined(__SANITIZE_ADDRESS__)
  // ASan does not see the unmapping: parts of a stack that a bare thread has poisoned would remain
  // poisoned for whatever is mapped there next. Stacks are in small mappings. For a large mapping
  // the unpoisoning would take as long as writing to an eighth of it.
  if (length <= size_t{1} << 30) __asan_unpoison_memory_region(address, length);
#endif
  return static_cast<int>(Invoke(Call::kMunmap, SYS_munmap, address, length));
}
int Madvise(void* address, size_t length, int advice) {
  return static_cast<int>(Invoke(Call::kMadvise, SYS_madvise, address, length, advice));
}
int Mprotect(void* address, size_t length, int protection) {
  return static_cast<int>(Invoke(Call::kMprotect, SYS_mprotect, address, length, protection));
}
int Mincore(void* address, size_t length, unsigned char* out) {
  return static_cast<int>(Invoke(Call::kMincore, SYS_mincore, address, length, out));
}

int64_t Clone3(clone_args* args, size_t size) {
  return Invoke(Call::kClone3, SYS_clone3, args, size);
}
int64_t Clone(uint64_t flags, int* pidfd) {
  // The order of the last two arguments depends on the architecture, but both are zero.
  return Invoke(Call::kClone, SYS_clone, flags, 0, pidfd, 0, 0);
}
pid_t ForkThroughLibc() {
  if (const int error = InjectedError(Call::kFork)) return -error;
  const pid_t pid = fork();
  return pid < 0 ? -errno : pid;
}
int PidfdOpen(pid_t pid) {
  constexpr int kPidfdOpen = 434;  // SYS_pidfd_open, missing from older headers
  return static_cast<int>(Invoke(Call::kPidfdOpen, kPidfdOpen, pid, 0));
}
int Waitid(int id_type, int id, void* siginfo, int options) {
  return static_cast<int>(Invoke(Call::kWaitid, SYS_waitid, id_type, id, siginfo, options, 0));
}
int PidfdSendSignal(int pidfd, int signal) {
  return static_cast<int>(
      Invoke(Call::kPidfdSendSignal, SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}
int LeaveProcessGroup() { return static_cast<int>(Invoke(Call::kSetpgid, SYS_setpgid, 0, 0)); }
int Prctl(int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return static_cast<int>(Invoke(Call::kPrctl, SYS_prctl, option, a, b, c, d));
}
int CloseRange(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(Invoke(Call::kCloseRange, SYS_close_range, first, last, flags));
}
int Sigprocmask(int how, const uint64_t* mask, uint64_t* old_mask) {
  return static_cast<int>(
      Invoke(Call::kSigprocmask, SYS_rt_sigprocmask, how, mask, old_mask, sizeof(uint64_t)));
}
int SetDisposition(int signal, uint64_t handler) {
  // The kernel's struct sigaction: handler, flags, restorer (x64), mask. Only the handler matters.
  const uint64_t action[4] = {handler, 0, 0, 0};
  return static_cast<int>(
      Invoke(Call::kSigaction, SYS_rt_sigaction, signal, action, nullptr, sizeof(uint64_t)));
}
int Futex(const void* word, int operation, uint32_t value, const timespec* timeout) {
  return static_cast<int>(Invoke(Call::kFutex, SYS_futex, word, operation, value, timeout));
}
int Ioctl(int fd, uint64_t request, uint64_t argument) {
  return static_cast<int>(Invoke(Call::kIoctl, SYS_ioctl, fd, request, argument));
}
int Userfaultfd(unsigned flags) {
  return static_cast<int>(Invoke(Call::kUserfaultfd, SYS_userfaultfd, flags));
}
int Ftruncate(int fd, uint64_t length) {
  return static_cast<int>(
      Invoke(Call::kFtruncate, SYS_ftruncate, fd, static_cast<int64_t>(length)));
}
int64_t MonotonicNanoseconds() {
  timespec now{};
  Raw(SYS_clock_gettime, CLOCK_MONOTONIC, Word(&now), 0, 0, 0, 0);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}
void BeNice(int nice) {
  // The system call returns 20 - niceness, which is never negative.
  const int64_t answer = Raw(SYS_getpriority, PRIO_PROCESS, 0, 0, 0, 0, 0);
  if (answer < 0 || 20 - answer >= nice) return;
  Raw(SYS_setpriority, PRIO_PROCESS, 0, static_cast<uint64_t>(nice), 0, 0, 0);
}
int StartBareThread(int (*body)(void*), void* argument, std::byte* stack_end) {
  if (const int error = InjectedError(Call::kClone)) return -error;
#if defined(__SANITIZE_THREAD__)
  return -EAGAIN;  // TSan would mistake it for its creator: they share TLS
#endif
  // This calls libc because switching to a new stack needs assembly code. The function does nothing
  // else, takes no lock and keeps no list of threads.
  const int tid = clone(
      body, stack_end,
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, argument);
  return tid < 0 ? -EAGAIN : tid;
}
int StartBareProcess(int (*body)(void*), void* argument, std::byte* stack_end, int* pidfd) {
  if (const int error = InjectedError(Call::kClone)) return -error;
#if defined(__SANITIZE_THREAD__)
  constexpr int kMemory = 0;  // TSan, as above: a copy of the memory
#else
  constexpr int kMemory = CLONE_VM;
#endif
  const int pid =
      clone(body, stack_end, kMemory | CLONE_FS | CLONE_FILES | CLONE_PIDFD, argument, pidfd);
  return pid < 0 ? -errno : pid;
}
void ExitGroup(int status) {
  for (;;) Raw(SYS_exit_group, static_cast<uint64_t>(status), 0, 0, 0, 0, 0);
}

}  // namespace stillframe::sys
