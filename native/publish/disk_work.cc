#include "publish/disk_work.h"

#include <sys/eventfd.h>

#include <atomic>
#include <cerrno>
#include <ctime>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "publish/stall_watch.h"
#include "publish/target_reservation.h"

namespace stillframe {
namespace {

// How long work that has been given up may take to get out of the way: longer than the time that a
// killed copy gets to end.
constexpr int64_t kGraceNs = 2'000'000'000;

}  // namespace

struct DiskWork::Shared {
  PublishTurn turn;
  std::optional<TargetFile> target;
  TargetReservation reservation;
  bool published_by_copy = false;
  UniqueFd ended;  // eventfd
  // Set by End(), and owned by the thread from then on.
  LastSteps last_steps;
  std::atomic<bool> may_end{false};
  // Set by the first of the two to finish with the other; the second closes what both used.
  std::atomic<bool> parted{false};
  // Owned by the thread until `ended` is readable.
  Status outcome = Success{};
  // The thread's body holds this object. After Detach() it stays forever: a few hundred bytes for
  // each disk that hangs.
  Thread thread;

  void Finish() {
    Status done = last_steps ? last_steps(target->fd(), &turn) : Status(Success{});
    if (done.ok() && published_by_copy) (void)turn.Complete();
    if (done.ok() && !turn.given_up() && !published_by_copy) done = target->Publish(&turn);
    outcome = std::move(done);
    last_steps = nullptr;  // releases what it holds
    target.reset();
    reservation.Release();
    const uint64_t one = 1;
    sys::Write(ended.get(), &one, sizeof one);
    if (parted.exchange(true)) ended.Reset();
  }
};

Status DiskWork::Open(const std::string& path, const TargetOptions& options) {
  auto shared = std::make_shared<Shared>();
  Result<TargetFile> target = TargetFile::Open(path, options);
  if (!target.ok()) return target.failure();
  shared->target.emplace(std::move(target.value()));
  if (!shared->reservation.Take(shared->target->identity())) {
    return Fail(FailureCode::kBusy,
                "another capture of this process is being written to this file; wait for its "
                "`done`, abort it, or choose another file");
  }
  const int ended = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ended < 0) return SystemFailure("eventfd2", -ended, "cannot prepare the work on the file");
  shared->ended.Reset(ended);
  shared_ = std::move(shared);
  return Success{};
}

const TargetFile& DiskWork::target() const { return *shared_->target; }

void DiskWork::LeavePublishing() { shared_->published_by_copy = true; }

Status DiskWork::PublishInCopy() {
  PublishTurn unwatched;
  return shared_->target->Publish(&unwatched);
}

void DiskWork::Begin() {
  if (!shared_) return;
  const Status started = shared_->thread.Start("stillframe-disk", [shared = shared_] {
    shared->target->SweepStale(&shared->turn);
    shared->may_end.wait(false);
    shared->Finish();
  });
  // If no thread can be started, the supervisor does the work, and nothing watches it.
  on_thread_ = started.ok();
}

Status DiskWork::End(Status so_far, LastSteps last_steps, const Supervision& supervision) {
  if (so_far.ok()) so_far = supervision.why_stop();
  if (!shared_) return so_far;
  Shared& shared = *shared_;
  if (!so_far.ok()) shared.turn.GiveUp();
  shared.last_steps = std::move(last_steps);
  shared.may_end = true;
  shared.may_end.notify_one();
  if (!on_thread_) shared.Finish();

  Status stop = std::move(so_far);
  bool leaving = !stop.ok();
  int64_t leave_at_ns = MonotonicNanoseconds() + kGraceNs;
  StallWatch stall(supervision.stall_timeout_ms);
  for (;;) {
    // Once `wake_fd` is readable, it stays readable, so it must not be polled any more.
    pollfd events[2] = {{shared.ended.get(), POLLIN, 0}, {supervision.wake_fd, POLLIN, 0}};
    const timespec tick{0, kWatchTickNs};
    if (sys::Ppoll(events, leaving ? 1 : 2, &tick) < 0) nanosleep(&tick, nullptr);
    // The kernel may have refused the write that reports the end, or the poll for it.
    if (events[0].revents != 0 || shared.parted) break;
    if (leaving) {
      if (MonotonicNanoseconds() < leave_at_ns) continue;
      if (shared.parted.exchange(true)) break;
      left_behind_ = true;
      shared.thread.Detach();
      return stop;
    }
    stop = supervision.why_stop();
    if (stop.ok()) stop = stall.Check(shared.turn.heartbeat(), shared.turn.step());
    if (stop.ok()) continue;
    leaving = true;
    leave_at_ns = MonotonicNanoseconds() + kGraceNs;
    // The file has already been published: this is a success, whatever cleanup is still under way.
    if (!shared.turn.GiveUp()) stop = Success{};
  }
  shared.thread.Join();
  // The reason for stopping says more than how the work ended.
  return stop.ok() ? std::move(shared.outcome) : std::move(stop);
}

}  // namespace stillframe
