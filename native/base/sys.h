// The one seam between this library and the kernel. Every system call that can fail in a way we
// must survive is made here, by number and without libc: the answer is the kernel's own (a value,
// or -errno), and errno is not touched. So the same functions serve the JS thread, our own threads,
// and the forked child, in which libc must not be trusted.
//
// Tests inject faults here: InjectFault("pwrite", 3, EIO, false) makes the third pwrite fail. A
// child inherits the plan at the fork and goes on counting from there. Without a plan the cost is
// one relaxed load.
#pragma once

#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

struct clone_args;
struct statx;
struct timespec;

namespace stillframe::sys {

// The calls that tests can make fail, in the order of kCallNames in sys.cc.
enum class Call : uint8_t {
  kClone,
  kClone3,
  kClose,
  kCloseRange,
  kEventfd,
  kFcntl,
  kFchmod,
  kFlock,
  kFork,
  kFstat,
  kFstatat,
  kFstatfs,
  kFsync,
  kFtruncate,
  kFutex,
  kGetrandom,
  kIoctl,
  kLinkat,
  kLseek,
  kMadvise,
  kMincore,
  kMmap,
  kMprotect,
  kMunmap,
  kOpenat,
  kPidfdOpen,
  kPidfdSendSignal,
  kPipe2,
  kPpoll,
  kPrctl,
  kPread,
  kPwrite,
  kRead,
  kRenameat2,
  kSetpgid,
  kSigaction,
  kSigprocmask,
  kStatx,
  kSyncFileRange,
  kUnlinkat,
  kUserfaultfd,
  kWaitid,
  kWrite,
  kCount,
};

// In place of an error number: the call answers 0 and does nothing, as a write of nothing does.
inline constexpr int kAnswersNothing = -1;
// Makes the nth (from 1) such call from now on fail with error_number, and, with forever, all later
// ones too. False if the name is not in the list.
bool InjectFault(const char* call_name, uint32_t nth, int error_number, bool forever);
void ClearFaults();
// The name of a call, and how often it was reached since the first fault was injected.
const char* CallName(Call call);
uint32_t CallCount(Call call);

// All return the kernel's answer: a value >= 0, or -errno.
int Open(int directory_fd, const char* path, int flags, mode_t mode);
int Close(int fd);
int64_t Pread(int fd, void* buffer, size_t length, uint64_t offset);
int64_t Pwrite(int fd, const void* buffer, size_t length, uint64_t offset);
int64_t Read(int fd, void* buffer, size_t length);
int64_t Write(int fd, const void* buffer, size_t length);
int64_t Lseek(int fd, int64_t offset, int whence);
int Fsync(int fd);
int SyncFileRange(int fd, uint64_t offset, uint64_t length, unsigned flags);
int Ftruncate(int fd, uint64_t length);
int Fstat(int fd, struct stat* out);
int Fstatat(int directory_fd, const char* path, struct stat* out, int flags);
int Statx(int directory_fd, const char* path, int flags, unsigned mask, struct statx* out);
int Fstatfs(int fd, struct statfs* out);
int Fchmod(int fd, mode_t mode);
int Fcntl(int fd, int command, uint64_t argument);
int Dup3(int from, int to, int flags);
int Flock(int fd, int operation);
int Linkat(int from_fd, const char* from, int to_fd, const char* to, int flags);
int Renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags);
int Unlinkat(int directory_fd, const char* path, int flags);
int64_t Getrandom(void* buffer, size_t length);
int Pipe2(int fds[2], int flags);
int Eventfd(unsigned initial, int flags);
int Ppoll(pollfd* fds, size_t count, const timespec* timeout);

// Returns the address, or -errno as a value in the last page of the address space (IsError()).
void* Mmap(void* address, size_t length, int protection, int flags, int fd, uint64_t offset);
bool IsError(const void* mmap_result);
int Munmap(void* address, size_t length);
int Madvise(void* address, size_t length, int advice);
int Mprotect(void* address, size_t length, int protection);
int Mincore(void* address, size_t length, unsigned char* out);

int64_t Clone3(clone_args* args, size_t size);
// clone(2) with a null stack, as fork does; flags carry the exit signal in the low byte.
int64_t Clone(uint64_t flags, int* pidfd);
// The C library's own fork, for a copy that goes on using that library, whose locks are sound
// there. It returns -errno all the same.
pid_t ForkThroughLibc();
int PidfdOpen(pid_t pid);
int Waitid(int id_type, int id, void* siginfo, int options);
int PidfdSendSignal(int pidfd, int signal);
// Makes a process group of its own for the calling process.
int LeaveProcessGroup();
int Prctl(int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
int CloseRange(unsigned first, unsigned last, unsigned flags);
// All 64 signals at once; old_mask may be null.
int Sigprocmask(int how, const uint64_t* mask, uint64_t* old_mask);
// Sets a signal to SIG_DFL or SIG_IGN (handler: 0 or 1).
int SetDisposition(int signal, uint64_t handler);
int Futex(const void* word, int operation, uint32_t value, const timespec* timeout);
int Ioctl(int fd, uint64_t request, uint64_t argument);
int Userfaultfd(unsigned flags);
// The same as in base/clock.h, but without libc.
int64_t MonotonicNanoseconds();
// Raises the niceness of the calling thread to `nice`, 0 to 19, if it is lower.
void BeNice(int nice);
// A thread of a forked child that libc knows nothing of. It shares everything with its creator,
// including thread-local storage, so it may call nothing but these functions and what works on
// memory. It ends when `body` returns. Returns its id, or -EAGAIN, whatever the reason.
int StartBareThread(int (*body)(void*), void* argument, std::byte* stack_end);
// A process that shares this one's memory and descriptors, so that it costs no page tables. The
// same rules hold for its `body`. No signal tells of its end. Returns its id, or -errno.
int StartBareProcess(int (*body)(void*), void* argument, std::byte* stack_end, int* pidfd);
[[noreturn]] void ExitGroup(int status);

}  // namespace stillframe::sys
