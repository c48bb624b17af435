// Whether there are only zeros where a file must be zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "image/byte_source.h"
#include "image/read_scratch.h"

namespace stillframe {

// The position of the first byte that is not zero, `length` when all are.
uint64_t FirstNotZero(const std::byte* bytes, uint64_t length);

// `section` is for the message.
Status CheckZeros(const ByteSource& source, uint64_t offset, uint64_t length,
                  const std::string& section, ReadScratch* scratch);

}  // namespace stillframe
