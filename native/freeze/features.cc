#include "freeze/features.h"

#include <linux/sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/disabled_steps.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "freeze/fault_router.h"
#include "freeze/fork_probe.h"
#include "freeze/mprotect_engine.h"
#include "freeze/userfaultfd.h"
#include "memory/available_memory.h"
#include "memory/cgroup.h"
#include "memory/huge_pages.h"
#include "memory/mapping_budget.h"

namespace stillframe {
namespace {

// These calls have wrong arguments on purpose: a call that exists reports them, while a call that
// does not exist, or that a filter blocks, returns ENOSYS or EPERM.
bool HasClone3() {
  if (StepDisabled("clone3")) return false;
  const int64_t error = sys::Clone3(nullptr, 0);
  return error != -ENOSYS && error != -EPERM;
}
bool HasCloseRange() {
  if (StepDisabled("close_range")) return false;
  const int error = sys::CloseRange(1, 0, 0);
  return error != -ENOSYS && error != -EPERM;
}
bool HasProc() { return access("/proc/self/fd", F_OK) == 0; }
bool HasSmapsRollup() { return ReadSmallFile("/proc/self/smaps_rollup").has_value(); }

// The usual limit is 65,530. mprotect uses half of what is left, and Node's own heap needs some
// mappings for each thread.
constexpr uint64_t kFewMappings = 8192;

void AddMappingHazard(std::vector<Hazard>* hazards) {
  if (!HasProc()) return;
  const auto [now, limit] = CountMappings();
  if (limit > now && limit - now >= kFewMappings) return;
  hazards->push_back(
      {"MAPPINGS_SHORT",
       "this process has " + std::to_string(now) + " of the " + std::to_string(limit) +
           " mappings that vm.max_map_count allows: with engine mprotect writers may have to wait "
           "for the disk, and "
           "restore() needs one for each section. To change: sysctl vm.max_map_count=262144"});
}

void AddBlockedSignalHazard(FaultSignal signal, std::vector<Hazard>* hazards) {
  const std::string thread = ThreadThatBlocks(signal);
  if (thread.empty()) return;
  const bool segv = signal == FaultSignal::kSegv;
  hazards->push_back(
      {"SIGNAL_BLOCKED", "the thread " + thread + " blocks " + (segv ? "SIGSEGV" : "SIGBUS") +
                             " and would be killed at a write to frozen memory, so " +
                             (segv ? "engine mprotect" : "userfaultfd with kernelWrites: false") +
                             " is refused. To change: unblock the signal in that thread"});
}

// Without /sys, it is unknown whether huge pages are off, so no hazard is reported.
bool HugePagesKnown() { return access("/sys/kernel/mm", F_OK) == 0; }

Feature MakeFeature(const char* name, bool available, const char* reason) {
  return {name, available, available ? "" : reason};
}

}  // namespace

MachineReport ProbeEngines() {
  MachineReport report;
  report.engines.push_back(KnownFork());
  report.engines.push_back(MprotectEngine::Probe());
  // Either variant makes the engine available. The reason is that of the variant which
  // every process may use.
  const Feature by_thread = Userfaultfd::Probe(FaultVariant::kThread);
  const Feature by_signal = Userfaultfd::Probe(FaultVariant::kSignal);
  report.engines.push_back(
      {"userfaultfd", by_thread.available || by_signal.available, by_signal.reason});
  report.features.push_back(by_thread);
  report.features.push_back(by_signal);
  return report;
}

MachineReport ProbeMachine() {
  MachineReport report = ProbeEngines();
  utsname kernel{};
  uname(&kernel);
  report.kernel = std::string(kernel.sysname) + " " + kernel.release + " " + kernel.machine;

  report.features.push_back(
      MakeFeature("clone3", HasClone3(), "not in this kernel, or filtered; clone is used instead"));
  report.features.push_back(
      MakeFeature("close_range", HasCloseRange(),
                  "not in this kernel, or filtered; descriptors are closed one by one"));
  report.features.push_back(MakeFeature(
      "huge_pages", HugePagesKnown() && !HugePagesOff(),
      HugePagesKnown() ? "transparent huge pages are off; pauses are 13 to 55 times longer. "
                         "To change: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
                       : "/sys is not mounted, so it cannot be told whether they are on"));
  report.features.push_back(MakeFeature(
      "smaps_rollup", HasSmapsRollup(),
      "/proc/self/smaps_rollup cannot be read; what copy-on-write costs is bounded by page "
      "faults instead of measured"));
  report.hazards = HazardsFor(0);
  return report;
}

std::vector<Hazard> HazardsFor(uint64_t source_bytes) {
  std::vector<Hazard> hazards;
  const auto overcommit = ReadSmallFile("/proc/sys/vm/overcommit_memory");
  if (overcommit && (*overcommit)[0] == '2') {
    hazards.push_back(
        {"OVERCOMMIT_STRICT",
         "vm.overcommit_memory is 2: the kernel counts a forked copy as if all of it were "
         "written, and may refuse the fork engine. To change: sysctl vm.overcommit_memory=0"});
  }
  if (HugePagesKnown() && HugePagesOff()) {
    hazards.push_back(
        {"HUGE_PAGES_OFF",
         "transparent huge pages are off: a freeze takes 13 to 55 times longer. To change: "
         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  }
  AddMappingHazard(&hazards);
  AddBlockedSignalHazard(FaultSignal::kSegv, &hazards);
  AddBlockedSignalHazard(FaultSignal::kBus, &hazards);
  if (!HasProc()) {
    hazards.push_back(
        {"PROC_MISSING",
         "/proc is not mounted: a snapshot gets its name by way of it and cannot be published "
         "without, and limits of memory cannot be read. To change: mount -t proc proc /proc"});
  }
  if (!HugePagesKnown()) {
    hazards.push_back({"SYS_MISSING",
                       "/sys is not mounted: neither the state of huge pages nor the limits of "
                       "the memory cgroup can be read. To change: mount -t sysfs sysfs /sys"});
  }
  const MemoryCgroup group = ReadMemoryCgroup();
  if (group.kills_group) {
    hazards.push_back(
        {"CGROUP_OOM_GROUP",
         "memory.oom.group is 1: when memory runs out the kernel kills the service together "
         "with the forked copy, instead of the copy first. To change: set it to 0"});
  }
  if (group.limit && group.headroom && source_bytes > *group.headroom) {
    hazards.push_back({"CGROUP_MEMORY_LIMIT",
                       "the memory cgroup allows " + std::to_string(*group.headroom) +
                           " more bytes of its " + std::to_string(*group.limit) +
                           ", and copy-on-write may take up to " + std::to_string(source_bytes) +
                           ": set memoryLimit, or write less while a snapshot runs"});
  } else if (source_bytes > AvailableMemory()) {
    hazards.push_back({"MEMORY_SHORT",
                       "copy-on-write may take up to " + std::to_string(source_bytes) +
                           " bytes, and only " + std::to_string(AvailableMemory()) +
                           " are available: set memoryLimit, or write less while a snapshot runs"});
  }
  return hazards;
}

}  // namespace stillframe
