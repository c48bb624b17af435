#include "heap/fault_guard.h"

#include <setjmp.h>
#include <signal.h>

#include "base/sys.h"

namespace stillframe {
namespace {

constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT};

sigjmp_buf way_out;
volatile sig_atomic_t working = 0;

void OnFault(int signal) {
  if (working != 0) siglongjmp(way_out, 1);
  sys::SetDisposition(signal, 0);  // SIG_DFL
  raise(signal);
}

}  // namespace

void FaultGuard::Install() {
  struct sigaction action {};
  action.sa_handler = OnFault;
  // A jump leaves the handler, so the signal must not stay blocked.
  action.sa_flags = SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigset_t faults;
  sigemptyset(&faults);
  for (const int signal : kFaults) {
    sigaction(signal, &action, nullptr);
    sigaddset(&faults, signal);
  }
  sigprocmask(SIG_UNBLOCK, &faults, nullptr);
}

bool FaultGuard::Run(void (*work)(void*), void* data) {
  if (sigsetjmp(way_out, 0) != 0) {
    working = 0;
    return false;
  }
  working = 1;
  work(data);
  working = 0;
  return true;
}

}  // namespace stillframe
