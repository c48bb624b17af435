// What whoever works on the target file, and whoever watches over it, tell each other.
//
// The work waits for the disk, which may take for ever. So the watcher may give up at any moment, and either it does
// or the work is complete, never both: work that has been given up publishes nothing, or takes back what it has.
#pragma once

#include <atomic>
#include <cstdint>

namespace stillframe {

class PublishTurn {
 public:
  // For the one who works. `step`: a literal, as in "no progress while ...".
  void Enter(const char* step) {
    step_ = step;
    Beat();
  }
  void Beat() { heartbeat_.fetch_add(1, std::memory_order_relaxed); }
  bool given_up() const { return state_ == State::kGivenUp; }
  // From here on it counts. False: it has been given up before.
  bool Complete() { return MoveTo(State::kComplete) || state_ == State::kComplete; }

  // For the one who watches.
  const char* step() const { return step_; }
  uint64_t heartbeat() const { return heartbeat_.load(std::memory_order_relaxed); }
  // False: it is complete already.
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
