#include "image/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <new>

namespace stillframe {

uint64_t Checksum(const void* data, size_t length) { return XXH3_64bits(data, length); }

RunningChecksum::RunningChecksum() : state_(new (std::align_val_t{64}) XXH3_state_t) {
  XXH3_INITSTATE(static_cast<XXH3_state_t*>(state_));
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}
RunningChecksum::~RunningChecksum() { ::operator delete (state_, std::align_val_t{64}); }
void RunningChecksum::Update(const void* data, size_t length) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), data, length);
}
uint64_t RunningChecksum::Value() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

}  // namespace stillframe
