#include "freeze/flip_lock.h"

#include <atomic>

namespace stillframe {
namespace {

std::atomic<std::mutex*>& Lock() {
  // Never destroyed, since a Worker may freeze while the process exits.
  static auto* lock = new std::atomic<std::mutex*>(new std::mutex);
  return *lock;
}

}  // namespace

std::mutex& FlipLock() { return *Lock().load(std::memory_order_acquire); }

void ShareFlipLock(std::mutex* lock) { Lock().store(lock, std::memory_order_release); }

}  // namespace stillframe
