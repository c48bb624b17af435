#include "image/checksum.h"

#include <new>

#if defined(__x86_64__)
// AVX-512 was not faster than AVX2 where it was measured, and some processors lower their clock for
// it, which would slow down the rest of the service.
#define XXH_DISPATCH_AVX512 0
#include <xxh_x86dispatch.c>  // NOLINT(bugprone-suspicious-include)
#define STILLFRAME_FASTEST(function) function##_dispatch
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#define STILLFRAME_FASTEST(function) function
#endif

namespace stillframe {

uint64_t Checksum(const void* data, size_t length) {
  return STILLFRAME_FASTEST(XXH3_64bits)(data, length);
}

Hash128 Checksum128(const void* data, size_t length) {
  const XXH128_hash_t hash = STILLFRAME_FASTEST(XXH3_128bits)(data, length);
  return {hash.low64, hash.high64};
}

RunningChecksum::RunningChecksum() : state_(new (std::align_val_t{64}) XXH3_state_t) {
  XXH3_INITSTATE(static_cast<XXH3_state_t*>(state_));
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}
RunningChecksum::~RunningChecksum() { ::operator delete (state_, std::align_val_t{64}); }
void RunningChecksum::Update(const void* data, size_t length) {
  STILLFRAME_FASTEST(XXH3_64bits_update)(static_cast<XXH3_state_t*>(state_), data, length);
}
uint64_t RunningChecksum::Value() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

}  // namespace stillframe
