#include "publish/target_reservation.h"

#include <mutex>
#include <set>

namespace stillframe {
namespace {

struct Held {
  std::mutex mutex;
  std::set<std::string> identities;
};
Held& AllHeld() {
  static auto* held = new Held;  // never destroyed: captures may end while the process exits
  return *held;
}

}  // namespace

bool TargetReservation::Take(const std::string& identity) {
  Held& held = AllHeld();
  const std::lock_guard lock(held.mutex);
  if (!held.identities.insert(identity).second) return false;
  identity_ = identity;
  return true;
}

void TargetReservation::Release() {
  if (identity_.empty()) return;
  Held& held = AllHeld();
  const std::lock_guard lock(held.mutex);
  held.identities.erase(identity_);
  identity_.clear();
}

}  // namespace stillframe
