// Parks the worker threads of V8's platform while the process is forked.
//
// A forked copy has none of these threads, and they could block it forever in two ways: by a V8
// lock that one of them holds, and by waiting for tasks, since glibc's condition variable keeps
// counting these waiters in the copy. So each worker is given a task that waits for us: a parked
// worker neither holds a lock of V8 nor waits on its queue.
#pragma once

#include <chrono>
#include <memory>

namespace v8 {
class Platform;
}

namespace stillframe {

class WorkerPark {
 public:
  // V8 does not say exactly how many threads take tasks (its number includes threads that do not).
  // The number is determined once, in the background, by parking them. Each environment that has
  // called this calls StopLearning when it ends.
  static void LearnInBackground(v8::Platform* platform);
  // The last caller stops the background thread and waits for its end: afterwards the platform may
  // be destroyed at any time, and would wait forever for a parked worker.
  static void StopLearning();

  explicit WorkerPark(v8::Platform* platform) : platform_(platform) {}
  ~WorkerPark() { Release(); }
  WorkerPark(const WorkerPark&) = delete;
  WorkerPark& operator=(const WorkerPark&) = delete;

  // Waits until all workers are parked. Returns false, with none of them held, if one stays busy
  // for longer than `patience` or if their number is not known. (It is known a fraction of a second
  // after the first LearnInBackground; a call before that waits up to 100 ms for it.)
  bool Park(std::chrono::milliseconds patience);
  // For tests only: keeps one worker busy until Release().
  void HoldOne();
  // Releases the workers. Not called in the forked copy, which has none.
  void Release();

 private:
  struct Place;
  class Task;
  static void StartLearning(v8::Platform* platform);
  static void Learn(v8::Platform* platform);
  int Arrived() const;
  v8::Platform* platform_;
  std::shared_ptr<Place> place_;
};

}  // namespace stillframe
