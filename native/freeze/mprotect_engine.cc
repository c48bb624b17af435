#include "freeze/mprotect_engine.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/sys.h"
#include "memory/mapping_budget.h"
#include "memory/page.h"

namespace stillframe {
namespace {

constexpr size_t kMediumPiece = 65536;

}  // namespace

Feature MprotectEngine::Probe() {
  Feature feature;
  feature.name = "mprotect";
  rlimit data{};
  feature.available = getrlimit(RLIMIT_DATA, &data) != 0 || data.rlim_cur == RLIM_INFINITY;
  if (!feature.available) {
    feature.reason =
        "the data of the process is limited (RLIMIT_DATA, systemd's LimitDATA=): memory that is "
        "write-protected does not "
        "count, and might not fit any more when it is to be writable again. Limit the address "
        "space or the memory cgroup "
        "instead, or use userfaultfd or fork";
  }
  return feature;
}

Status MprotectEngine::PrepareProtection(const FreezePlan& /*plan*/) {
  const Feature feature = Probe();
  if (feature.available) return Success{};
  return Fail(FailureCode::kEngineUnavailable, feature.reason);
}

void MprotectProtection::CountMappings() { mapping_budget_ = MappingBudget(); }

int MprotectProtection::Protect(std::byte* start, size_t length) {
  return sys::Mprotect(start, length, PROT_READ);
}

int MprotectProtection::Lift(std::byte* start, size_t length) {
  return sys::Mprotect(start, length, PROT_READ | PROT_WRITE);
}

size_t MprotectProtection::PieceBytes(uint64_t isolated_pieces) {
  const uint64_t mappings = 2 * isolated_pieces;
  const uint64_t budget = mapping_budget_.load(std::memory_order_relaxed);
  if (mappings < budget / 2) return SystemPageSize();
  if (mappings < budget / 4 * 3) return std::max(kMediumPiece, SystemPageSize());
  return mappings < budget ? kHugePageSize : 0;
}

}  // namespace stillframe
