// The only interface between this library and the kernel. Every system call that can fail in a way
// we must survive is made here, by number and without libc. Each function returns the kernel's own
// result (a value, or -errno) and leaves errno untouched. The same functions therefore serve the JS
// thread, our own threads, and the forked child, in which libc cannot be trusted.
//
// Tests inject faults here: InjectFault("pwrite", 3, EIO, false) makes the third pwrite fail. A
// child inherits the armed faults at the fork and continues counting from there. With no fault
// armed the cost is one relaxed load.
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

// Calls that tests can make fail, in the order of kCallNames in sys.cc.
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

// As the error number of a fault: the call does nothing and returns 0, like a write of no bytes.
inline constexpr int kAnswersNothing = -1;
// Makes the nth call from now on (counted from 1) fail with error_number and, if `forever`, all
// later ones too. Returns false if there is no call of this name.
bool InjectFault(const char* call_name, uint32_t nth, int error_number, bool forever);
void ClearFaults();
// The name of a call, and how often it was reached since the first fault was injected.
const char* CallName(Call call);
uint32_t CallCount(Call call);

// All return the kernel's result: a value >= 0, or -errno.
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

// Returns the address, or -errno as a value in the last page of the address space (see IsError()).
void* Mmap(void* address, size_t length, int protection, int flags, int fd, uint64_t offset);
bool IsError(const void* mmap_result);
int Munmap(void* address, size_t length);
int Madvise(void* address, size_t length, int advice);
int Mprotect(void* address, size_t length, int protection);
int Mincore(void* address, size_t length, unsigned char* out);

int64_t Clone3(clone_args* args, size_t size);
// clone(2) with a null stack, as in fork. The low byte of `flags` is the exit signal.
int64_t Clone(uint64_t flags, int* pidfd);
// fork() of the C library, for a copy that continues to use the library: this fork leaves the
// library's locks consistent in the copy. It returns -errno like the others.
pid_t ForkThroughLibc();
int PidfdOpen(pid_t pid);
int Waitid(int id_type, int id, void* siginfo, int options);
int PidfdSendSignal(int pidfd, int signal);
// Moves the calling process into a new process group of its own.
int LeaveProcessGroup();
int Prctl(int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
int CloseRange(unsigned first, unsigned last, unsigned flags);
// Sets the mask of all 64 signals at once. old_mask may be null.
int Sigprocmask(int how, const uint64_t* mask, uint64_t* old_mask);
// Sets the disposition of a signal to SIG_DFL (handler 0) or SIG_IGN (handler 1).
int SetDisposition(int signal, uint64_t handler);
int Futex(const void* word, int operation, uint32_t value, const timespec* timeout);
int Ioctl(int fd, uint64_t request, uint64_t argument);
int Userfaultfd(unsigned flags);
// As in base/clock.h, but without libc.
int64_t MonotonicNanoseconds();
// Raises the niceness of the calling thread to `nice`, 0 to 19, unless it is higher already.
void BeNice(int nice);
// Starts a thread in a forked child, without libc's knowledge. The thread shares everything with
// its creator, including thread-local storage, so it may only call the functions of this file and
// functions that do nothing but access memory. It ends when `body` returns. Returns its thread id,
// or -EAGAIN for any error.
int StartBareThread(int (*body)(void*), void* argument, std::byte* stack_end);
// Starts a process that shares the memory and the descriptors of this one, so no page tables are
// copied. The same rules apply to its `body`. No signal reports its end. Returns its process id, or
// -errno.
int StartBareProcess(int (*body)(void*), void* argument, std::byte* stack_end, int* pidfd);
[[noreturn]] void ExitGroup(int status);

}  // namespace stillframe::sys
