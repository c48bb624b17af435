#include "capture/supervisor.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "base/clock.h"
#include "base/sys.h"
#include "publish/stall_watch.h"

namespace stillframe {

Status Supervisor::Start(Supervised* job, ControlHeader* control, const JobLimits& limits) {
  job_ = job;
  control_ = control;
  limits_ = limits;
  const int wake = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0)
    return SystemFailure("eventfd2", -wake, "cannot prepare the supervision of the capture");
  wake_.Reset(wake);
  return thread_.Start("stillframe", [this] { Supervise(); });
}

void Supervisor::NoteInstant() {
  frozen_at_monotonic_ns_ = MonotonicNanoseconds();
  frozen_at_ns_ = WallNanoseconds();
}

void Supervisor::Frozen(bool frozen) {
  phase_ = frozen ? Phase::kFrozen : Phase::kFailedToFreeze;
  phase_.notify_one();
}

void Supervisor::Abort() {
  abort_ = true;
  if (control_ != nullptr) control_->abort_requested.store(1, std::memory_order_relaxed);
  const uint64_t one = 1;
  if (wake_.valid()) sys::Write(wake_.get(), &one, sizeof one);
}

double Supervisor::MillisecondsSinceFreeze() const {
  return static_cast<double>(MonotonicNanoseconds() - frozen_at_monotonic_ns_) / 1'000'000;
}

void Supervisor::Supervise() {
  phase_.wait(Phase::kPreparing);
  if (phase_ == Phase::kFailedToFreeze) {
    job_->NotFrozen();
    return;
  }
  Status saved = job_->Attach();
  disk_.Begin();
  if (saved.ok()) saved = Watch();
  saved = job_->Saved(std::move(saved));

  Supervision supervision;
  supervision.wake_fd = wake_.get();
  supervision.stall_timeout_ms = limits_.stall_timeout_ms;
  supervision.why_stop = [this] { return WhyStop("publishing the file"); };
  const bool written = saved.ok();
  Status ended = disk_.End(std::move(saved), job_->LastSteps(), supervision);
  if (written && !ended.ok() && ended.failure().code == FailureCode::kStalled) out_of_time_ = true;
  job_->Ended(std::move(ended));
}

Status Supervisor::WhyStop(const char* step) {
  if (abort_) return Fail(FailureCode::kAborted, "the capture was aborted");
  if (limits_.timeout_ms == 0 ||
      MillisecondsSinceFreeze() <= static_cast<double>(limits_.timeout_ms))
    return Success{};
  out_of_time_ = true;
  return NotDone(limits_.timeout_ms, step);
}

Status Supervisor::Watch() {
  StallWatch stall(limits_.stall_timeout_ms);
  for (;;) {
    pollfd events[2] = {{job_->wait_fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    const timespec tick{0, kWatchTickNs};
    const int ready = sys::Ppoll(events, 2, &tick);
    if (ready < 0 && ready != -EINTR) {
      return SystemFailure("ppoll", -ready, "cannot watch over the capture");
    }
    if (ready > 0 && events[0].revents != 0) return Success{};
    const char* step = SaveStepName(control_->step.load(std::memory_order_relaxed));
    if (Status stop = WhyStop(step); !stop.ok()) return stop;
    if (Status moves = stall.Check(job_->Pulse(), step); !moves.ok()) return moves;
    if (Status sound = job_->Look(); !sound.ok()) return sound;
  }
}

}  // namespace stillframe
