// Watches over the memory of one thread's JavaScript, and makes a forked copy write the heap when
// there is too much of it: the flight recorder of a service that is about to die.
//
//   V8's near-heap-limit callback   on the main thread, inside a garbage collection  -.
//   V8's GC epilogue callback       on the JS thread: heap in use                    -+-> Capture()
//   watch thread                    RSS, cgroup, pressure: asks V8 for an interrupt  -'
//
// If memory does not allow a heap snapshot, the copy writes a summary (heap_summary.h). It also
// writes a summary before each heap snapshot, since the memory that a heap snapshot takes can only
// be estimated, and removes it when the heap snapshot is complete.
//
// Capture() runs on the JS thread whatever that is doing, even in a loop that never returns to the
// event loop. It calls no JavaScript, and allocates nothing in V8's heap. The copy publishes its
// file itself, since the service may be gone by then (ForkPlan::outlives_service).
#pragma once

#include <v8.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/thread.h"
#include "base/unique_fd.h"
#include "heap/fork_job.h"

namespace stillframe {

enum class Trigger : uint8_t { kNearHeapLimit, kHeapUsed, kRss, kCgroup, kPressure };
const char* TriggerName(Trigger trigger);

// The conditions that trigger a capture. A condition that is 0 or false is not watched.
struct WatchTriggers {
  bool near_heap_limit = false;
  uint64_t heap_used_bytes = 0;
  double heap_used_percent = 0;  // of V8's limit
  uint64_t rss_bytes = 0;
  double cgroup_percent = 0;
  double pressure_percent = 0;
};

struct WatchPlan {
  v8::Isolate* isolate = nullptr;
  v8::Platform* platform = nullptr;
  std::string directory;  // absolute
  std::string owner;      // process and thread, for the names of the files
  uint64_t thread = 0;    // the number that worker_threads gives it
  // For a Worker, in bytes; 0 for the main thread.
  uint64_t old_generation_limit = 0;
  WatchTriggers triggers;
  int64_t every_ms = 0;
  int64_t cool_down_ms = 0;
  bool redact = false;
  bool summarize = false;  // if there is no memory for a heap snapshot
  TargetOptions target;
  Pacing pacing;
  JobLimits limits;
  // Runs a task on the JS thread, from its event loop. May be called on any thread.
  std::function<void(std::function<void()>)> run_on_loop;
};

// The memory that a heap snapshot takes in the copy, as a multiple of the heap in use.
inline constexpr uint64_t kSnapshotFactor = 13;

struct HeapNeed {
  uint64_t heap_bytes = 0;
  uint64_t needed_bytes = 0;
  uint64_t available_bytes = 0;
  bool fits() const { return needed_bytes <= available_bytes; }
};

// `memory_limit` bounds the available memory, in bytes; with 0 the bound is what the machine or the
// cgroup has left, minus a reserve for the service.
HeapNeed NeedOfSnapshot(v8::Isolate* isolate, uint64_t memory_limit);

struct WatchEvent {
  enum class Kind : uint8_t { kStarted, kEnded, kFailed, kTooBig };
  Kind kind = Kind::kStarted;
  Trigger trigger = Trigger::kNearHeapLimit;
  std::string path;
  bool is_summary = false;  // true if the file at `path`, written or planned, is one
  // Path of the heap snapshot that a summary replaces; `failure` says why it was not written.
  // Otherwise empty.
  std::string instead_of;
  HeapNeed need;
  double pause_ms = 0;
  int pid = 0;
  ForkOutcome outcome;
  Failure failure;
};

class MemoryWatch {
 public:
  // Called on any thread, and in the middle of a garbage collection.
  using OnEvent = std::function<void(WatchEvent)>;

  // Start() and the destructor are called on the JS thread.
  static Result<std::unique_ptr<MemoryWatch>> Start(WatchPlan plan, OnEvent on_event);
  // Calls nothing any more afterwards. A copy that is still running continues.
  ~MemoryWatch();

 private:
  struct State;
  explicit MemoryWatch(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace stillframe
