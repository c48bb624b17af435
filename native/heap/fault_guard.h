// Runs what may end in a fault, in a copy of the process that has one thread and is not continued
// afterwards: a fault gives up the one piece of work and not the copy. What the work has allocated
// is lost then, and what it has changed stays changed half.
#pragma once

namespace stillframe {

class FaultGuard {
 public:
  // Takes the signals of faults and of abort(), for good.
  static void Install();

  // False after a fault. Not to be nested. No destructor of `work` runs after a fault.
  template <typename Work>
  static bool Try(Work work) {
    return Run([](void* data) { (*static_cast<Work*>(data))(); }, &work);
  }

 private:
  static bool Run(void (*work)(void*), void* data);
};

}  // namespace stillframe
