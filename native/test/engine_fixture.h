// What the tests of the engines share: one engine object taken through its life by hand, with the production saver
// writing to a file in memory; the variants to test; a watchdog.
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

// For functions that write to what is captured. The race between them and the saver is settled by page protection,
// which TSan does not see.
#if defined(__SANITIZE_THREAD__)
#define WRITES_MEMORY __attribute__((no_sanitize("thread"), noinline))
#else
#define WRITES_MEMORY __attribute__((noinline))
#endif

namespace stillframe::test {

enum class Variant : uint8_t { kFork, kMprotect, kUserfaultfdThread, kUserfaultfdSignal };

const char* NameOf(Variant variant);
std::unique_ptr<Engine> MakeEngine(Variant variant);
// Why the variant cannot run here; empty when it can.
std::string Missing(Variant variant);

// STILLFRAME_TEST_LONG=1 asks for the numbers that CI has no time for.
bool LongMode();

// An anonymous region as a service allocates it, all of it touched.
std::shared_ptr<RegionMemory> TouchedRegion(size_t byte_length, bool huge_pages);

using Regions = std::vector<std::shared_ptr<RegionMemory>>;

// One capture, without a supervisor: Freeze() is the instant, Finish() waits for the end.
class DirectCapture {
 public:
  DirectCapture(Variant variant, const Regions& regions, uint64_t memory_limit,
                AtLimit at_limit = AtLimit::kWait);
  DirectCapture(Variant variant, std::vector<FreezeSource> sources, uint64_t memory_limit,
                AtLimit at_limit = AtLimit::kWait, uint32_t savers = 2);

  Status Prepare();
  // With what the supervisor does right after it, and nobody writes in between.
  Status Freeze();
  // Bounded: stops the engine and fails after 30 s.
  Status Finish();
  // Makes an end, as the supervisor does on abort.
  void Stop() { engine_->Stop(); }
  Engine& engine() { return *engine_; }
  // To be changed before Prepare(), which fills in what saves.
  FreezePlan& plan() { return plan_; }

  // What the saver wrote: `length` bytes of a section. Holes are zeros.
  void ReadSaved(uint32_t section, uint64_t offset, void* out, size_t length) const;
  const CopyCost& cost() const { return cost_; }

 private:
  ImageLayout layout_;
  FileSink sink_;
  std::unique_ptr<ControlBlock> control_;
  UniqueFd file_;
  FreezePlan plan_;
  uint32_t savers_;
  std::unique_ptr<Engine> engine_;  // last: goes before what it works on
  CopyCost cost_;
};

// Ends the program when a test does not come to its end: a writer that is frozen for good cannot be joined.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds limit);
  ~Watchdog();

 private:
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace stillframe::test
