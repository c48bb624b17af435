#include "heap/worker_park.h"

#include <v8-platform.h>

#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/thread.h"

namespace stillframe {
namespace {

using std::chrono::milliseconds;

// Once so many have arrived and nobody else has for so long, these are all.
constexpr milliseconds kQuiet{20};
// For a worker in a long task, while their number is being found out.
constexpr milliseconds kLearningPatience{2000};

struct Learnt {
  std::mutex mutex;
  std::condition_variable changed;
  int workers = -1;  // not known
};

Learnt& LearntWorkers() {
  static auto* learnt =
      new Learnt;  // never destroyed: a thread may be at it while the process exits
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
  static std::once_flag once;
  std::call_once(once, [platform] {
    (void)Thread::StartDetached("stillframe-park", [platform] {
      // One of those that V8 counts may serve delayed tasks only.
      const int counted = platform->NumberOfWorkerThreads();
      WorkerPark park(platform);
      park.place_ = std::make_shared<Place>();
      Place& place = *park.place_;
      for (int i = 0; i < counted; i++)
        platform->CallBlockingTaskOnWorkerThread(std::make_unique<Task>(park.place_));
      int arrived = 0;
      {
        std::unique_lock lock(place.mutex);
        const auto end = std::chrono::steady_clock::now() + kLearningPatience;
        const auto somebody_came = [&] { return place.arrived > arrived; };
        while (arrived < counted) {
          const bool came = place.changed.wait_for(lock, kQuiet, somebody_came);
          arrived = place.arrived;
          if (!came && (arrived >= counted - 1 || std::chrono::steady_clock::now() > end)) break;
        }
      }
      park.Release();
      Learnt& learnt = LearntWorkers();
      const std::lock_guard lock(learnt.mutex);
      // Never fewer than all but one: better to wait for a worker in vain than to fork beside one.
      learnt.workers = arrived > counted - 1 ? arrived : counted - 1;
      learnt.changed.notify_all();
    });
  });
}

bool WorkerPark::Park(milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  int workers = 0;
  {
    Learnt& learnt = LearntWorkers();
    std::unique_lock lock(learnt.mutex);
    if (!learnt.changed.wait_until(lock, end, [&] { return learnt.workers >= 0; })) return false;
    workers = learnt.workers;
  }
  place_ = std::make_shared<Place>();
  // Somebody does wait for these: where V8's queue knows of urgency, they go before all that is in it.
  for (int i = 0; i < workers; i++)
    platform_->CallBlockingTaskOnWorkerThread(std::make_unique<Task>(place_));
  std::unique_lock lock(place_->mutex);
  if (place_->changed.wait_until(lock, end, [&] { return place_->arrived == workers; }))
    return true;
  lock.unlock();
  Release();
  return false;
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
