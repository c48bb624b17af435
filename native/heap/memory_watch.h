// Watches over the memory of one thread's JavaScript, and makes a forked copy write its heap when
// there is too much of it: the flight recorder of a service that is about to die.
//
//   V8's near-heap-limit callback   on the main thread, inside a garbage collection  -.
//   V8's epilogue of a collection   on the JS thread: heap in use                    -+-> Capture()
//   thread                          RSS, cgroup, pressure: asks V8 for an interrupt  -'
//
// Where the memory does not allow a heap snapshot, the copy writes a summary (heap_summary.h). So it
// does before each heap snapshot, and removes it once that is there: how much memory it takes can
// only be guessed.
//
// Capture() runs on the JS thread wherever it stands, also in a loop that never returns to its event
// loop. It calls no JavaScript, and takes nothing from V8's heap. The copy publishes its file itself,
// since the service may be gone by then (ForkPlan::outlives_service).
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

// What is watched for; 0 is not watched for.
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
  uint64_t thread = 0;    // in words of worker_threads
  // Of a Worker, in bytes; 0 for the main thread.
  uint64_t old_generation_limit = 0;
  WatchTriggers triggers;
  int64_t every_ms = 0;
  int64_t cool_down_ms = 0;
  bool redact = false;
  bool summarize = false;  // where there is no memory for a heap snapshot
  TargetOptions target;
  Pacing pacing;
  JobLimits limits;
  // Runs it on the JS thread when that is in its event loop. Called on any thread.
  std::function<void(std::function<void()>)> run_on_loop;
};

// A heap snapshot takes memory in the copy: so many times what the heap has in use.
inline constexpr uint64_t kSnapshotFactor = 13;

struct HeapNeed {
  uint64_t heap_bytes = 0;
  uint64_t needed_bytes = 0;
  uint64_t available_bytes = 0;
  bool fits() const { return needed_bytes <= available_bytes; }
};

// `memory_limit`: 0 for what the machine or the cgroup has left, with a reserve for the service.
HeapNeed NeedOfSnapshot(v8::Isolate* isolate, uint64_t memory_limit);

struct WatchEvent {
  enum class Kind : uint8_t { kStarted, kEnded, kFailed, kTooBig };
  Kind kind = Kind::kStarted;
  Trigger trigger = Trigger::kNearHeapLimit;
  std::string path;
  bool is_summary = false;  // what is at the path, or is to be
  // Of the heap snapshot that was to be, and of which `failure` tells why it is not.
  std::string instead_of;
  HeapNeed need;
  double pause_ms = 0;
  int pid = 0;
  ForkOutcome outcome;
  Failure failure;
};

class MemoryWatch {
 public:
  // On any thread, and in the middle of a garbage collection.
  using OnEvent = std::function<void(WatchEvent)>;

  // Both on the JS thread.
  static Result<std::unique_ptr<MemoryWatch>> Start(WatchPlan plan, OnEvent on_event);
  // Nothing is called any more; a copy that is under way goes on.
  ~MemoryWatch();

 private:
  struct State;
  explicit MemoryWatch(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace stillframe
