// Runs work that may end in a fault. For a copy of the process that has one thread and ends
// afterwards: a fault abandons only the current piece of work, not the copy. Memory that the work
// has allocated is then leaked, and its changes may be incomplete.
#pragma once

namespace stillframe {

class FaultGuard {
 public:
  // Takes over the signals of faults and of abort(), permanently.
  static void Install();

  // False after a fault. Calls must not be nested. After a fault the destructors of the objects in
  // `work` do not run.
  template <typename Work>
  static bool Try(Work work) {
    return Run([](void* data) { (*static_cast<Work*>(data))(); }, &work);
  }

 private:
  static bool Run(void (*work)(void*), void* data);
};

}  // namespace stillframe
