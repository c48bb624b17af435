#include "freeze/in_process_engine.h"

#include <sys/eventfd.h>
#include <time.h>

#include <utility>

#include "freeze/own_pages.h"
#include "freeze/saver_threads.h"

namespace stillframe {
namespace {

// A refused lift at the end of a capture is retried for a second.
constexpr timespec kBetweenLifts{0, 20'000'000};
constexpr int kLiftsAtTheEnd = 50;

}  // namespace

Status InProcessEngine::Prepare(const FreezePlan& plan) {
  plan_ = &plan;
  if (Status sources = CheckOwnPages(plan.sources); !sources.ok()) return sources;
  if (signal_ != FaultSignal::kNone) {
    if (const std::string thread = ThreadThatBlocks(signal_); !thread.empty()) {
      return Fail(FailureCode::kEngineUnavailable,
                  "the thread " + thread + " blocks " +
                      (signal_ == FaultSignal::kSegv ? "SIGSEGV" : "SIGBUS") +
                      " and would be killed at its first write to a protected page");
    }
  }
  Result<std::unique_ptr<FrozenMemory>> frozen =
      FrozenMemory::Create(plan.sources, plan.memory_limit, plan.at_limit, protection());
  if (!frozen.ok()) return frozen.failure();
  frozen_ = std::move(frozen.value());
  const int ended = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ended < 0) return SystemFailure("eventfd2", -ended, "cannot prepare the saver thread");
  ended_.Reset(ended);
  if (Status ready = PrepareProtection(plan); !ready.ok()) return ready;
  save_ = plan.save;
  save_.pages = frozen_.get();
  return Success{};
}

Status InProcessEngine::Freeze() {
  Status frozen = Arm(frozen_.get(), signal_);
  armed_ = frozen.ok();
  if (armed_) frozen = frozen_->ProtectAll();
  return frozen;
}

// Starts the threads here, not before the freeze, because that takes a while and the thread that
// freezes belongs to the service.
Status InProcessEngine::Attach() {
  if (Status answers = AnswerFaults(); !answers.ok()) return answers;
  if (Status saves = saver_.Start("stillframe-save", [this] { Save(); }); !saves.ok()) return saves;
  if (signal_ != FaultSignal::kNone) LookAtThreads();
  return Success{};
}

void InProcessEngine::Save() {
  OnFrozen();
  end_ = SaveWithThreads(save_);
  const uint64_t one = 1;
  sys::Write(ended_.get(), &one, sizeof one);
}

Result<CopyCost> InProcessEngine::Cost() {
  return CopyCost{frozen_->copied_bytes(), frozen_->copied_bytes_peak(), frozen_->copied_pages()};
}

Status InProcessEngine::Check() {
  if (signal_ == FaultSignal::kNone) return Success{};
  return StayInFront(signal_);
}

void InProcessEngine::Stop() {
  if (stopped_) return;
  stopped_ = true;
  save_.control->abort_requested.store(1, std::memory_order_relaxed);
  // The service goes on at once, whatever the saver is waiting for.
  frozen_->LiftAll();
}

// Called when nothing protects or saves any more. A refusal may be temporary: a shortage in the
// kernel, or a limit.
int InProcessEngine::LiftForGood() {
  for (int again = kLiftsAtTheEnd;; again--) {
    const int refused = frozen_->LiftAll();
    if (refused == 0 || again == 0) return refused;
    nanosleep(&kBetweenLifts, nullptr);
  }
}

Status InProcessEngine::Collect() {
  saver_.Join();
  if (int refused = frozen_->given_up_for(); refused != 0 || (refused = LiftForGood()) != 0) {
    return SystemFailure(frozen_->call_name(), refused,
                         "the kernel refuses to make memory writable again that was "
                         "write-protected for the capture");
  }
  if (frozen_->limit_reached()) {
    return Fail(FailureCode::kMemoryLimit, "copy-on-write has taken all of its " +
                                               std::to_string(plan_->memory_limit) +
                                               " bytes (memoryLimit)");
  }
  return DescribeEnd(end_, save_.control, "the capture was aborted");
}

void InProcessEngine::Shutdown() {
  if (frozen_) {
    if (save_.control != nullptr)
      save_.control->abort_requested.store(1, std::memory_order_relaxed);
  }
  // The service goes on while the saver finishes.
  if (armed_) frozen_->LiftAll();
  saver_.Join();
  if (armed_ && LiftForGood() != 0) {
    StayArmed(std::move(frozen_));
  } else if (armed_) {
    Disarm(frozen_.get());
  }
  armed_ = false;
  EndProtection();
  frozen_.reset();
}

}  // namespace stillframe
