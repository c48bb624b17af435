// Holds the worker threads of V8's platform still while the process is forked.
//
// A forked copy has none of these threads, and two things of theirs would stop it for ever: a V8
// lock that one of them holds, and their own waiting for tasks, which glibc's condition variable
// keeps counting in the copy. So each is given a task that waits for us: a parked worker neither
// holds a lock of V8 nor waits on its queue.
#pragma once

#include <chrono>
#include <memory>

namespace v8 {
class Platform;
}

namespace stillframe {

class WorkerPark {
 public:
  // V8 does not say exactly how many threads take tasks (it also counts threads that do not). The
  // number is found out once, in the background, by parking them. Each environment that has called
  // this calls StopLearning at its end.
  static void LearnInBackground(v8::Platform* platform);
  // The last caller ends it and waits for that: afterwards the platform may be gone at any time,
  // and would wait for ever for a worker that is parked.
  static void StopLearning();

  explicit WorkerPark(v8::Platform* platform) : platform_(platform) {}
  ~WorkerPark() { Release(); }
  WorkerPark(const WorkerPark&) = delete;
  WorkerPark& operator=(const WorkerPark&) = delete;

  // Waits until all are parked. False if one of them stays busy for so long, or if their number is
  // not known yet: then none is held. (The number is known a fraction of a second after the first
  // LearnInBackground, and is waited for longer.)
  bool Park(std::chrono::milliseconds patience);
  // For tests only: keeps one of them busy until Release().
  void HoldOne();
  // Lets them go. Not called in the forked copy, where there are none.
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
