// Checks that a file holds only zeros where it must be zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "image/byte_source.h"
#include "image/read_scratch.h"

namespace stillframe {

// Position of the first byte that is not zero, or `length` if all bytes are zero.
uint64_t FirstNotZero(const std::byte* bytes, uint64_t length);

// Fails with kCorrupt, for `section`, if a byte is not zero.
Status CheckZeros(const ByteSource& source, uint64_t offset, uint64_t length,
                  const std::string& section, ReadScratch* scratch);

}  // namespace stillframe
