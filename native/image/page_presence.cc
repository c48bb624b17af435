#include "image/page_presence.h"

#include "image/zero_page.h"

namespace stillframe {

uint64_t PresentPages(const std::byte* bytes, uint64_t length) {
  uint64_t present = 0;
  for (uint64_t page = 0; page < length / kPageSize; page++) {
    if (!IsZeroPage(bytes + page * kPageSize)) present |= uint64_t{1} << page;
  }
  return present;
}

}  // namespace stillframe
