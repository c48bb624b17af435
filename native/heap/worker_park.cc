#include "heap/worker_park.h"

#include <v8-platform.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/thread.h"

namespace stillframe {
namespace {

using std::chrono::milliseconds;

// When at least all but one have arrived and no other has arrived for this long, these are all of
// them.
constexpr milliseconds kQuiet{20};
// How long a call just after the import waits for the number of workers, which is known by then
// unless they are busy. A more patient caller waits longer.
constexpr milliseconds kCountPatience{100};
// How long to wait for a worker in a long task while their number is being determined.
constexpr milliseconds kLearningPatience{2000};

struct Learnt {
  std::mutex mutex;
  std::condition_variable changed;
  int workers = -1;  // not known
  int environments = 0;
  bool learning = false;  // a thread is determining the number
  bool stop = false;      // that thread has to end
};

Learnt& LearntWorkers() {
  // Never destroyed: that thread may use it while the process exits.
  static auto* learnt = new Learnt;
  return *learnt;
}

}  // namespace

struct WorkerPark::Place {
  std::mutex mutex;
  std::condition_variable changed;
  int arrived = 0;
  bool released = false;
};

class WorkerPark::Task final : public v8::Task {
 public:
  explicit Task(std::shared_ptr<Place> place) : place_(std::move(place)) {}
  void Run() override {
    std::unique_lock lock(place_->mutex);
    place_->arrived++;
    place_->changed.notify_all();
    place_->changed.wait(lock, [&] { return place_->released; });
  }

 private:
  std::shared_ptr<Place> place_;
};

void WorkerPark::LearnInBackground(v8::Platform* platform) {
  Learnt& learnt = LearntWorkers();
  {
    const std::lock_guard lock(learnt.mutex);
    learnt.environments++;
  }
  StartLearning(platform);
}

void WorkerPark::StopLearning() {
  Learnt& learnt = LearntWorkers();
  std::unique_lock lock(learnt.mutex);
  if (--learnt.environments > 0) return;
  learnt.stop = true;
  learnt.changed.notify_all();
  learnt.changed.wait(lock, [&] { return !learnt.learning; });
  learnt.stop = false;
}

void WorkerPark::StartLearning(v8::Platform* platform) {
  Learnt& learnt = LearntWorkers();
  {
    const std::lock_guard lock(learnt.mutex);
    if (learnt.learning || learnt.workers >= 0) return;
    learnt.learning = true;
  }
  const Status started = Thread::StartDetached("stillframe-park", [platform] { Learn(platform); });
  if (started.ok()) return;
  const std::lock_guard lock(learnt.mutex);
  learnt.learning = false;
}

void WorkerPark::Learn(v8::Platform* platform) {
  Learnt& learnt = LearntWorkers();
  std::unique_lock lock(learnt.mutex);
  if (!learnt.stop) {
    // One of the threads that V8 counts may serve delayed tasks only.
    const int counted = platform->NumberOfWorkerThreads();
    WorkerPark park(platform);
    park.place_ = std::make_shared<Place>();
    for (int i = 0; i < counted; i++)
      platform->CallBlockingTaskOnWorkerThread(std::make_unique<Task>(park.place_));
    int arrived = 0;
    const auto end = std::chrono::steady_clock::now() + kLearningPatience;
    while (arrived < counted && !learnt.stop) {
      learnt.changed.wait_for(lock, kQuiet, [&] { return learnt.stop; });
      const int now = park.Arrived();
      if (now == arrived && (arrived >= counted - 1 || std::chrono::steady_clock::now() > end))
        break;
      arrived = now;
    }
    park.Release();
    // Never fewer than all but one: it is better to wait for a worker in vain than to fork while
    // one is running.
    if (!learnt.stop) learnt.workers = arrived > counted - 1 ? arrived : counted - 1;
  }
  learnt.learning = false;
  learnt.changed.notify_all();
}

int WorkerPark::Arrived() const {
  const std::lock_guard lock(place_->mutex);
  return place_->arrived;
}

bool WorkerPark::Park(milliseconds patience) {
  StartLearning(platform_);  // if no thread could be started for it before
  int workers = 0;
  {
    Learnt& learnt = LearntWorkers();
    std::unique_lock lock(learnt.mutex);
    if (!learnt.changed.wait_for(lock, std::max(kCountPatience, patience),
                                 [&] { return learnt.workers >= 0; }))
      return false;
    workers = learnt.workers;
  }
  const auto end = std::chrono::steady_clock::now() + patience;
  place_ = std::make_shared<Place>();
  // These are blocking tasks, since a thread waits for them: if V8's queue has priorities, they go
  // before everything else in it.
  for (int i = 0; i < workers; i++)
    platform_->CallBlockingTaskOnWorkerThread(std::make_unique<Task>(place_));
  std::unique_lock lock(place_->mutex);
  if (place_->changed.wait_until(lock, end, [&] { return place_->arrived == workers; }))
    return true;
  lock.unlock();
  Release();
  return false;
}

void WorkerPark::HoldOne() {
  place_ = std::make_shared<Place>();
  platform_->CallBlockingTaskOnWorkerThread(std::make_unique<Task>(place_));
  std::unique_lock lock(place_->mutex);
  place_->changed.wait(lock, [&] { return place_->arrived == 1; });
}

void WorkerPark::Release() {
  if (!place_) return;
  {
    const std::lock_guard lock(place_->mutex);
    place_->released = true;
  }
  place_->changed.notify_all();
  place_.reset();
}

}  // namespace stillframe
