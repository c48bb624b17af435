#include "freeze/mprotect_engine.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/sys.h"
#include "memory/mapping_budget.h"
#include "memory/page.h"

namespace stillframe {
namespace {

constexpr size_t kMediumPiece = 65536;

}  // namespace

void MprotectEngine::OnFrozen() { mapping_budget_ = MappingBudget(); }

int MprotectEngine::Protect(std::byte* start, size_t length) {
  return sys::Mprotect(start, length, PROT_READ);
}

int MprotectEngine::Lift(std::byte* start, size_t length) {
  return sys::Mprotect(start, length, PROT_READ | PROT_WRITE);
}

size_t MprotectEngine::PieceBytes(uint64_t isolated_pieces) {
  const uint64_t mappings = 2 * isolated_pieces;
  const uint64_t budget = mapping_budget_.load(std::memory_order_relaxed);
  if (mappings < budget / 2) return SystemPageSize();
  if (mappings < budget / 4 * 3) return std::max(kMediumPiece, SystemPageSize());
  return mappings < budget ? kHugePageSize : 0;
}

}  // namespace stillframe
