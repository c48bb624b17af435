#include "heap/memory_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/clock.h"
#include "base/sys.h"
#include "base/utc_time.h"
#include "heap/fresh_ids.h"
#include "heap/heap_summary.h"
#include "heap/in_copy.h"
#include "heap/summary_file.h"
#include "memory/available_memory.h"
#include "memory/memory_use.h"

namespace stillframe {
namespace {

// The wait for V8's workers at the heap limit: the service is stopped there anyway, and there may
// be no second chance.
constexpr std::chrono::milliseconds kLastChance{2000};
// The interval between attempts to find V8's threads at rest, and the time until the last attempt.
constexpr int64_t kRestIntervalMs = 50;
constexpr int64_t kRestPatienceNs = 30'000'000'000;
// After V8 has been given more room, its former limit is restored only when the heap has shrunk to
// this share of it.
constexpr double kRestoreShare = 0.8;
// The memory that stays with the service if the copy takes everything that it may: a share of what
// is left (1 / kReserveShare), but at least kLeastReserve.
constexpr uint64_t kLeastReserve = uint64_t{32} << 20;
constexpr uint64_t kReserveShare = 8;

// The room that V8 gets once at its limit, in addition to what it may want to move there from the
// young generation.
constexpr size_t kRoom = size_t{8} << 20;

// In a Worker the copy is made when the old generation has this share of its limit. V8 asks for a
// new limit when the old generation has grown beyond it; the memory measured here is slightly more
// than what V8 counts.
constexpr double kNearLimitShare = 0.97;

// The most copies for one file. So many in a row almost never have to wait for a lock.
constexpr int kMostCopies = 4;

constexpr char kSnapshotEnding[] = ".heapsnapshot";
constexpr char kSummaryEnding[] = ".heapsummary.json";

constexpr double kMiB = 1 << 20;

// Writes to stderr, but not through stdio or Node: the thread that we have interrupted may hold
// their locks.
void Say(const char* format, auto... values) {
  char line[1024];
  const int length = snprintf(line, sizeof line - 1, format, values...);
  if (length <= 0) return;
  const size_t used = std::min(static_cast<size_t>(length), sizeof line - 2);
  std::replace(line, line + used, '\n', ' ');
  line[used] = '\n';
  sys::Write(STDERR_FILENO, line, used + 1);
}

// For example 2026-11-29T08-56-14.123Z: without the colons, which some filesystems refuse.
std::string TimeForName(int64_t wall_ns) {
  std::string time = UtcTime(wall_ns);
  std::replace(time.begin(), time.end(), ':', '-');
  return time;
}

// The path of the summary that goes with the heap snapshot at `path`.
std::string SummaryBeside(const std::string& path) {
  return path.substr(0, path.size() - (sizeof kSnapshotEnding - 1)) + kSummaryEnding;
}

uint64_t UsedHeap(v8::Isolate* isolate, uint64_t* limit) {
  v8::HeapStatistics heap;
  isolate->GetHeapStatistics(&heap);
  if (limit != nullptr) *limit = heap.heap_size_limit();
  return heap.used_heap_size();
}

struct Generations {
  size_t young = 0;
  size_t old = 0;
};

// The memory that V8 has for each generation, in bytes.
Generations GenerationsOf(v8::Isolate* isolate) {
  Generations bytes;
  for (size_t i = 0; i < isolate->NumberOfHeapSpaces(); i++) {
    v8::HeapSpaceStatistics space;
    if (!isolate->GetHeapSpaceStatistics(&space, i)) continue;
    const std::string name = space.space_name();
    const bool young = name == "new_space" || name == "new_large_object_space";
    (young ? bytes.young : bytes.old) += space.space_size();
  }
  return bytes;
}

}  // namespace

const char* TriggerName(Trigger trigger) {
  switch (trigger) {
    case Trigger::kNearHeapLimit:
      return "near-heap-limit";
    case Trigger::kHeapUsed:
      return "heap";
    case Trigger::kRss:
      return "rss";
    case Trigger::kCgroup:
      return "cgroup";
    case Trigger::kPressure:
      return "pressure";
  }
  return "";
}

HeapNeed NeedOfSnapshot(v8::Isolate* isolate, uint64_t memory_limit) {
  HeapNeed need;
  need.heap_bytes = UsedHeap(isolate, nullptr);
  need.needed_bytes = need.heap_bytes * kSnapshotFactor;
  const uint64_t left = AvailableMemory();
  const uint64_t reserve = std::max(kLeastReserve, left / kReserveShare);
  need.available_bytes = left - std::min(left, reserve);
  if (memory_limit != 0) need.available_bytes = std::min(need.available_bytes, memory_limit);
  return need;
}

namespace {

void SayOf(const WatchEvent& event) {
  const char* trigger = TriggerName(event.trigger);
  const char* what = event.is_summary ? "heap summary" : "heap snapshot";
  switch (event.kind) {
    case WatchEvent::Kind::kStarted:
      return Say(
          "stillframe: %s: heap of %.1f MiB; process %d writes a %s to %s; the service stood still "
          "for %.1f ms",
          trigger, static_cast<double>(event.need.heap_bytes) / kMiB, event.pid, what,
          event.path.c_str(), event.pause_ms);
    case WatchEvent::Kind::kEnded:
      if (!event.instead_of.empty()) {
        return Say("stillframe: %s: no heap snapshot: %s; a summary is in %s", trigger,
                   event.failure.message.c_str(), event.path.c_str());
      }
      return Say("stillframe: %s: %.1f MiB after %.1f s", event.path.c_str(),
                 static_cast<double>(event.outcome.file_length) / kMiB,
                 event.outcome.duration_ms / 1000);
    case WatchEvent::Kind::kFailed:
      return Say("stillframe: %s: no %s: %s", trigger, what, event.failure.message.c_str());
    case WatchEvent::Kind::kTooBig:
      return Say(
          "stillframe: %s: no heap snapshot: it would take about %.0f MiB of memory, and %.0f MiB "
          "may be taken",
          trigger, static_cast<double>(event.need.needed_bytes) / kMiB,
          static_cast<double>(event.need.available_bytes) / kMiB);
  }
}

Failure NotAtRest() { return Fail(FailureCode::kBusy, "V8's threads did not come to rest"); }

}  // namespace

struct MemoryWatch::State : std::enable_shared_from_this<State> {
  State(WatchPlan with, OnEvent tell) : plan(std::move(with)), on_event(std::move(tell)) {}

  const WatchPlan plan;

  // Written only on the JS thread.
  std::unique_ptr<ForkJob> job;
  bool armed = false;
  uint64_t usual_limit = 0;  // V8's limit before we raised it
  bool watching = true;

  std::mutex mutex;  // guards on_event
  OnEvent on_event;  // empty when there is no listener any more
  // Set on the JS thread. The watch thread reads it too.
  std::atomic<int64_t> no_earlier_ns{0};
  std::atomic<bool> job_running{false};
  std::atomic<int> copies_made{0};  // for one file
  // The trigger whose capture is pending, or -1, and the time until which it is attempted. Accessed
  // on any thread.
  std::atomic<int> pending{-1};
  std::atomic<int64_t> give_up_at_ns{0};
  UniqueFd wake;  // eventfd: the thread has to end
  Thread thread;  // last

  // Reports the event on stderr and to the listener, if there is one.
  void Tell(WatchEvent event) {
    SayOf(event);
    const std::lock_guard lock(mutex);
    if (on_event) on_event(std::move(event));
  }

  // Ignores every trigger except the heap limit for the cool-down period.
  void PutOff() { no_earlier_ns = MonotonicNanoseconds() + plan.cool_down_ms * 1'000'000; }

  // In a Worker, V8 asks Node, whose callback ends the Worker and grants 16 MiB more. If we had
  // raised the limit before, the heap would be beyond that by then, and V8 would end the whole
  // process. So in a Worker the copy is made just before V8 asks.
  bool asks_v8() const { return plan.old_generation_limit == 0; }
  void Arm() {
    if (asks_v8()) plan.isolate->AddNearHeapLimitCallback(OnNearHeapLimit, this);
    armed = true;
  }
  void Disarm(size_t restore_limit) {
    if (armed && asks_v8())
      plan.isolate->RemoveNearHeapLimitCallback(OnNearHeapLimit, restore_limit);
    armed = false;
  }

  static size_t OnNearHeapLimit(void* data, size_t current, size_t /*initial*/);
  static void OnCollected(v8::Isolate* isolate, v8::GCType type, v8::GCCallbackFlags flags,
                          void* data);
  static void OnInterrupt(v8::Isolate* isolate, void* data);
  void Rearm(uint64_t used);
  void WatchFromOutside();
  std::optional<Trigger> Fired() const;
  void Ask(Trigger trigger);
  void RequestInterrupt();
  void TryPending();
  // Returns false if V8's threads were not at rest, and another attempt may be made.
  bool Capture(Trigger trigger, std::chrono::milliseconds patience);
  ForkPlan PlanOf(const WatchEvent& event) const;
  void SetWork(const WatchEvent& event, uint32_t first_id, ForkPlan* fork) const;
  void AskAgain(Trigger trigger);
  void Ended(WatchEvent event, Result<ForkOutcome> outcome, JobEnd end);
};

size_t MemoryWatch::State::OnNearHeapLimit(void* data, size_t current, size_t /*initial*/) {
  auto* self = static_cast<State*>(data);
  // V8 asks only the callback that was added last. The next time it is to ask the one that was
  // there before ours (Node's own, which ends a Worker), or to do what it does without any.
  self->Disarm(0);
  self->Capture(Trigger::kNearHeapLimit, kLastChance);
  // The heap may be beyond the limit already, and V8 ends the process if it is beyond the new
  // limit, too.
  const Generations bytes = GenerationsOf(self->plan.isolate);
  return std::max(current, bytes.old) + kRoom + bytes.young;
}

void MemoryWatch::State::OnCollected(v8::Isolate* isolate, v8::GCType /*type*/,
                                     v8::GCCallbackFlags /*flags*/, void* data) {
  auto* self = static_cast<State*>(data);
  uint64_t limit = 0;
  const uint64_t used = UsedHeap(isolate, &limit);
  self->Rearm(used);
  if (self->armed && !self->asks_v8() &&
      static_cast<double>(GenerationsOf(isolate).old) >=
          kNearLimitShare * static_cast<double>(self->plan.old_generation_limit)) {
    self->Disarm(0);
    self->Capture(Trigger::kNearHeapLimit, kLastChance);
    return;
  }
  const WatchTriggers& at = self->plan.triggers;
  const double percent =
      limit == 0 ? 0 : 100.0 * static_cast<double>(used) / static_cast<double>(limit);
  if ((at.heap_used_bytes > 0 && used >= at.heap_used_bytes) ||
      (at.heap_used_percent > 0 && percent >= at.heap_used_percent)) {
    self->Ask(Trigger::kHeapUsed);
  }
  // Marking has just ended: there is no better moment.
  self->TryPending();
}

// If the heap has shrunk, V8 gets its former limit back; otherwise the few MiB that we have added
// stay part of the limit.
void MemoryWatch::State::Rearm(uint64_t used) {
  if (armed || !plan.triggers.near_heap_limit || job_running) return;
  if (MonotonicNanoseconds() < no_earlier_ns) return;
  if (static_cast<double>(used) < kRestoreShare * static_cast<double>(usual_limit)) {
    Arm();
    Disarm(usual_limit);
  }
  Arm();
}

void MemoryWatch::State::Ask(Trigger trigger) {
  if (job_running || MonotonicNanoseconds() < no_earlier_ns) return;
  int none = -1;
  if (!pending.compare_exchange_strong(none, static_cast<int>(trigger))) return;
  give_up_at_ns = MonotonicNanoseconds() + kRestPatienceNs;
}

// An interrupt reaches a thread that runs JavaScript; a thread that waits in its event loop is
// woken up.
void MemoryWatch::State::RequestInterrupt() {
  auto* kept = new std::shared_ptr<State>(shared_from_this());
  plan.isolate->RequestInterrupt(OnInterrupt, kept);
  if (plan.run_on_loop) plan.run_on_loop([self = shared_from_this()] { self->TryPending(); });
}

void MemoryWatch::State::OnInterrupt(v8::Isolate* /*isolate*/, void* data) {
  const std::unique_ptr<std::shared_ptr<State>> self(static_cast<std::shared_ptr<State>*>(data));
  (*self)->TryPending();
}

void MemoryWatch::State::TryPending() {
  const int wanted = pending;
  if (wanted < 0 || !watching) return;
  const auto trigger = static_cast<Trigger>(wanted);
  if (Capture(trigger, ForkPlan{}.park_patience)) {
    pending = -1;
    return;
  }
  if (MonotonicNanoseconds() < give_up_at_ns) return;
  pending = -1;
  PutOff();
  WatchEvent event;
  event.trigger = trigger;
  event.kind = WatchEvent::Kind::kFailed;
  event.failure = NotAtRest();
  Tell(std::move(event));
}

bool MemoryWatch::State::Capture(Trigger trigger, std::chrono::milliseconds patience) {
  if (job_running) return true;
  job.reset();  // the previous job has ended
  const int64_t started_ns = MonotonicNanoseconds();
  WatchEvent event;
  event.trigger = trigger;
  event.need = NeedOfSnapshot(plan.isolate, plan.limits.memory_limit);
  event.is_summary = !event.need.fits();
  if (event.is_summary && !plan.summarize) {
    PutOff();
    event.kind = WatchEvent::Kind::kTooBig;
    Tell(std::move(event));
    return true;
  }
  ForkPlan fork = PlanOf(event);
  fork.park_patience = patience;
  event.path = fork.target.path;
  const uint64_t most_ids = event.is_summary ? 0 : FreshIds::MostFor(event.need.heap_bytes);
  const uint32_t first_id = FreshIds::Take(most_ids);
  SetWork(event, first_id, &fork);
  job_running = true;
  Result<std::unique_ptr<ForkJob>> started = ForkJob::Start(
      std::move(fork),
      [self = shared_from_this(), event](Result<ForkOutcome> outcome, JobEnd end) mutable {
        self->Ended(std::move(event), std::move(outcome), end);
      });
  if (!started.ok()) {
    job_running = false;
    FreshIds::GiveBack(first_id, most_ids, 0);
    const bool not_at_rest = started.failure().code == FailureCode::kNotAtRest;
    if (not_at_rest && patience < kLastChance) return false;
    PutOff();
    event.kind = WatchEvent::Kind::kFailed;
    event.failure = not_at_rest ? NotAtRest() : started.failure();
    Tell(std::move(event));
    return true;
  }
  job = std::move(started.value());
  copies_made++;
  PutOff();
  event.pid = job->pid();
  event.pause_ms = static_cast<double>(MonotonicNanoseconds() - started_ns) / 1'000'000;
  Tell(std::move(event));
  return true;
}

ForkPlan MemoryWatch::State::PlanOf(const WatchEvent& event) const {
  ForkPlan fork;
  fork.platform = plan.platform;
  fork.outlives_service = true;
  fork.target.options = plan.target;
  fork.target.path = plan.directory + "/heap-" + plan.owner + "-" + TimeForName(WallNanoseconds()) +
                     "-" + TriggerName(event.trigger) +
                     (event.is_summary ? kSummaryEnding : kSnapshotEnding);
  fork.pacing = plan.pacing;
  fork.limits = plan.limits;
  fork.limits.memory_limit = event.need.available_bytes;
  if (event.is_summary)
    fork.limits.memory_limit = std::max(kSummaryMemory, event.need.available_bytes);
  return fork;
}

void MemoryWatch::State::SetWork(const WatchEvent& event, uint32_t first_id, ForkPlan* fork) const {
  const SummaryRequest request{TriggerName(event.trigger), static_cast<uint64_t>(getpid()),
                               plan.thread, plan.redact};
  if (event.is_summary) {
    fork->in_child = [isolate = plan.isolate, request](Output* output,
                                                       const std::vector<AddressRange>& left_out,
                                                       const std::vector<AddressRange>& v8_memory) {
      BeginInCopy(isolate, output->control(), left_out);
      WriteSummary(isolate, request, v8_memory, output);
    };
    return;
  }
  TargetPlan summary = fork->target;
  summary.path = SummaryBeside(fork->target.path);
  fork->in_child = [isolate = plan.isolate, request, first_id, summary, summarize = plan.summarize](
                       Output* output, const std::vector<AddressRange>& left_out,
                       const std::vector<AddressRange>& v8_memory) {
    BeginInCopy(isolate, output->control(), left_out);
    if (summarize) WriteSummaryFile(isolate, request, v8_memory, summary, *output);
    WriteHeapSnapshot(isolate, output, IdMover(first_id, IdMover::kKeepNone), request.redact);
  };
  if (plan.summarize) fork->after_publishing = [path = summary.path] { unlink(path.c_str()); };
}

// A lock was held at that instant, which is no defect and soon over: another copy is made while the
// service may still be alive. If no interrupt comes first, the next garbage collection makes it.
void MemoryWatch::State::AskAgain(Trigger trigger) {
  Say("stillframe: %s: the copy had to wait for a lock of another thread; another one is made",
      TriggerName(trigger));
  give_up_at_ns = MonotonicNanoseconds() + kRestPatienceNs;
  // Must come first: a thread that finds the trigger pending must not find the job running.
  job_running = false;
  int none = -1;  // if another trigger is pending, that one makes the copy
  pending.compare_exchange_strong(none, static_cast<int>(trigger));
  // As long as there is a listener, there is an isolate.
  const std::lock_guard lock(mutex);
  if (on_event) RequestInterrupt();
}

void MemoryWatch::State::Ended(WatchEvent event, Result<ForkOutcome> outcome, JobEnd end) {
  if (end == JobEnd::kHeldLock && copies_made < kMostCopies) return AskAgain(event.trigger);
  copies_made = 0;
  event.kind = WatchEvent::Kind::kEnded;
  if (outcome.ok()) {
    event.outcome = outcome.value();
  } else {
    event.failure = outcome.failure();
    const std::string summary = SummaryBeside(event.path);
    struct stat file {};
    if (!event.is_summary && plan.summarize && stat(summary.c_str(), &file) == 0) {
      event.instead_of = std::exchange(event.path, summary);
      event.is_summary = true;
      event.outcome.file_length = static_cast<uint64_t>(file.st_size);
    } else {
      event.kind = WatchEvent::Kind::kFailed;
    }
  }
  job_running = false;
  Tell(std::move(event));
}

std::optional<Trigger> MemoryWatch::State::Fired() const {
  const WatchTriggers& at = plan.triggers;
  if (at.rss_bytes > 0 && ResidentBytes().value_or(0) >= at.rss_bytes) return Trigger::kRss;
  if (at.cgroup_percent > 0 && CgroupPercent().value_or(0) >= at.cgroup_percent) {
    return Trigger::kCgroup;
  }
  if (at.pressure_percent > 0 && MemoryPressure().value_or(0) >= at.pressure_percent) {
    return Trigger::kPressure;
  }
  return std::nullopt;
}

void MemoryWatch::State::WatchFromOutside() {
  for (;;) {
    const int64_t wait_ms = pending >= 0 ? kRestIntervalMs : plan.every_ms;
    pollfd end{wake.get(), POLLIN, 0};
    const timespec wait{wait_ms / 1000, wait_ms % 1000 * 1'000'000};
    const int ready = sys::Ppoll(&end, 1, &wait);
    if (ready > 0) return;
    if (ready < 0 && ready != -EINTR) nanosleep(&wait, nullptr);
    if (pending < 0) {
      if (const auto trigger = Fired()) Ask(*trigger);
    }
    if (pending >= 0) RequestInterrupt();
  }
}

Result<std::unique_ptr<MemoryWatch>> MemoryWatch::Start(WatchPlan plan, OnEvent on_event) {
  const WatchTriggers at = plan.triggers;
  v8::Isolate* isolate = plan.isolate;
  auto state = std::make_shared<State>(std::move(plan), std::move(on_event));
  const bool from_outside = at.rss_bytes > 0 || at.cgroup_percent > 0 || at.pressure_percent > 0 ||
                            at.heap_used_bytes > 0 || at.heap_used_percent > 0;
  if (from_outside) {
    const int wake = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) return SystemFailure("eventfd2", -wake, "cannot prepare the watch over memory");
    state->wake.Reset(wake);
    Status started =
        state->thread.Start("stillframe-mem", [watch = state.get()] { watch->WatchFromOutside(); });
    if (!started.ok()) return started.failure();
  }
  UsedHeap(isolate, &state->usual_limit);
  if (at.near_heap_limit) state->Arm();
  isolate->AddGCEpilogueCallback(State::OnCollected, state.get(), v8::kGCTypeMarkSweepCompact);
  return std::unique_ptr<MemoryWatch>(new MemoryWatch(std::move(state)));
}

MemoryWatch::~MemoryWatch() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->on_event = nullptr;
  }
  state_->watching = false;
  state_->Disarm(0);
  state_->plan.isolate->RemoveGCEpilogueCallback(State::OnCollected, state_.get());
  const uint64_t one = 1;
  if (state_->wake.valid()) sys::Write(state_->wake.get(), &one, sizeof one);
  state_->thread.Join();
  // The copy continues, and so does its supervisor, which never ends with the thread that asked for
  // it. The memory that both need is never freed: a few kilobytes for each capture that is running
  // now.
  if (state_->job_running) (void)state_->job.release();
  state_->job.reset();  // the job refers back to the state
}

}  // namespace stillframe
