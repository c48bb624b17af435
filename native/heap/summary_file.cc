#include "heap/summary_file.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>

#include "base/sys.h"
#include "child/hardening.h"
#include "heap/self_watch.h"

namespace stillframe {
namespace {

// A summary takes about 100 ms for a heap of one gigabyte, plus a sync of the disk.
constexpr SelfLimits kLimits{kSummaryMemory, 60'000, 30'000};

int Write(v8::Isolate* isolate, const SummaryRequest& request,
          const std::vector<AddressRange>& v8_memory, const TargetPlan& target,
          const Output& beside) {
  sys::Prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  WatchOverSelf(beside.control(), kLimits, kChildFailed);
  Result<TargetFile> file = TargetFile::Open(target.path, target.options);
  if (!file.ok()) return kChildFailed;
  Output output = beside.To(file.value().fd());
  WriteSummary(isolate, request, v8_memory, &output);
  if (!output.Finish()) return kChildFailed;
  PublishTurn turn;
  return file.value().Publish(&turn).ok() ? kChildComplete : kChildFailed;
}

}  // namespace

void WriteSummaryFile(v8::Isolate* isolate, const SummaryRequest& request,
                      const std::vector<AddressRange>& v8_memory, const TargetPlan& target,
                      const Output& beside) {
  // Not by the C library, which would run handlers of the host.
  const int64_t pid = sys::Clone(SIGCHLD, nullptr);
  if (pid == 0) sys::ExitGroup(Write(isolate, request, v8_memory, target, beside));
  if (pid > 0) {
    while (waitpid(static_cast<pid_t>(pid), nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  beside.ForgetWhatWasWritten();
}

}  // namespace stillframe
