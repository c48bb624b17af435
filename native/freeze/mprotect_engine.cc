#include "freeze/mprotect_engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "base/small_file.h"
#include "base/sys.h"
#include "memory/page.h"

namespace stillframe {
namespace {

constexpr size_t kMediumPiece = 65536;
constexpr uint64_t kDefaultMaxMappings = 65530;

uint64_t MaxMappings() {
  const auto text = ReadSmallFile("/proc/sys/vm/max_map_count");
  return text ? strtoull(text->c_str(), nullptr, 10) : kDefaultMaxMappings;
}

uint64_t CountMappings() {
  const auto maps = ReadSmallFile("/proc/self/maps");
  if (!maps) return kDefaultMaxMappings / 2;
  return static_cast<uint64_t>(std::count(maps->begin(), maps->end(), '\n'));
}

}  // namespace

void MprotectEngine::OnFrozen() {
  const uint64_t limit = MaxMappings();
  const uint64_t now = CountMappings();
  // Half of what is left: the service makes mappings too, V8 most of all.
  mapping_budget_ = limit > now ? (limit - now) / 2 : 0;
}

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
