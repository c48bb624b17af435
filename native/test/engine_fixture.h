// Shared by the tests of the engines: one engine object that is taken through its life
// step by step, with the production saver writing to a file in memory; the variants to
// test; and a watchdog.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "freeze/engine.h"
#include "image/control_block.h"
#include "image/file_sink.h"
#include "image/tail.h"
#include "memory/region.h"

// For functions that write to captured memory. Page protection resolves the race between them and
// the saver, which TSan does not see.
#if defined(__SANITIZE_THREAD__)
#define WRITES_MEMORY __attribute__((no_sanitize("thread"), noinline))
#else
#define WRITES_MEMORY __attribute__((noinline))
#endif

namespace stillframe::test {

enum class Variant : uint8_t { kFork, kMprotect, kUserfaultfdThread, kUserfaultfdSignal };

const char* NameOf(Variant variant);
std::unique_ptr<Engine> MakeEngine(Variant variant);
// The reason why the variant cannot run here; empty if it can.
std::string Missing(Variant variant);

// True if STILLFRAME_TEST_LONG=1 requests the numbers that CI has no time for.
bool LongMode();

// An anonymous region as a service allocates it, with all of its pages touched.
std::shared_ptr<RegionMemory> TouchedRegion(size_t byte_length, bool huge_pages);

using Regions = std::vector<std::shared_ptr<RegionMemory>>;

// One capture without a supervisor. Freeze() is the instant that is captured, and
// Finish() waits for the end.
class DirectCapture {
 public:
  DirectCapture(Variant variant, const Regions& regions, uint64_t memory_limit,
                AtLimit at_limit = AtLimit::kWait);
  DirectCapture(Variant variant, std::vector<FreezeSource> sources, uint64_t memory_limit,
                AtLimit at_limit = AtLimit::kWait, uint32_t savers = 2);

  Status Prepare();
  // Also does what the supervisor does right after the freeze, so that nobody writes in between.
  Status Freeze();
  // Stops the engine and fails if the capture takes longer than 30 s.
  Status Finish();
  // Ends the capture as the supervisor does on abort.
  void Stop() { engine_->Stop(); }
  Engine& engine() { return *engine_; }
  // May be changed until Prepare(), which fills in the plan of the saver.
  FreezePlan& plan() { return plan_; }

  // Reads `length` bytes of a section as the saver wrote them. Holes are zeros.
  void ReadSaved(uint32_t section, uint64_t offset, void* out, size_t length) const;
  const CopyCost& cost() const { return cost_; }

 private:
  ImageLayout layout_;
  FileSink sink_;
  std::unique_ptr<ControlBlock> control_;
  UniqueFd file_;
  FreezePlan plan_;
  uint32_t savers_;
  std::unique_ptr<Engine> engine_;  // last, so that it is destroyed before the objects that it uses
  CopyCost cost_;
};

// Ends the program if a test does not end: a writer that is frozen forever cannot be joined.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds limit);
  ~Watchdog();

 private:
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace stillframe::test
