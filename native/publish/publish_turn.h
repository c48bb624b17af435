// Shared state of the thread that works on the target file and the thread that watches over it.
//
// The work waits for the disk, possibly forever. So the watcher may give up at any moment. Either
// it does or the work is complete, never both. Work that has been given up publishes nothing, or
// takes back what it has published.
#pragma once

#include <atomic>
#include <cstdint>

namespace stillframe {

class PublishTurn {
 public:
  // For the worker. `step` is a literal, as in "no progress while ...".
  void Enter(const char* step) {
    step_ = step;
    Beat();
  }
  void Beat() { heartbeat_.fetch_add(1, std::memory_order_relaxed); }
  bool given_up() const { return state_ == State::kGivenUp; }
  // From here on, the work counts as done. False if it has already been given up.
  bool Complete() { return MoveTo(State::kComplete) || state_ == State::kComplete; }

  // For the watcher.
  const char* step() const { return step_; }
  uint64_t heartbeat() const { return heartbeat_.load(std::memory_order_relaxed); }
  // False if the work is already complete.
  bool GiveUp() { return MoveTo(State::kGivenUp) || state_ == State::kGivenUp; }

 private:
  enum class State : int { kUnderWay, kComplete, kGivenUp };
  bool MoveTo(State end) {
    State expected = State::kUnderWay;
    return state_.compare_exchange_strong(expected, end);
  }

  std::atomic<State> state_{State::kUnderWay};
  std::atomic<const char*> step_{"starting"};
  std::atomic<uint64_t> heartbeat_{0};
};

}  // namespace stillframe
