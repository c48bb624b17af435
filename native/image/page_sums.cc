#include "image/page_sums.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "image/checksum.h"
#include "image/zero_page.h"

namespace stillframe {
namespace {

// Input of the hash of a block: its place and its content.
struct PlacedSums {
  uint32_t section;
  uint32_t block;
  PageSum pages[kPagesPerBlock];
};
static_assert(sizeof(PlacedSums) == 8 + kPagesPerBlock * sizeof(PageSum));

}  // namespace

PageSum SumOfPage(const std::byte* page) {
  const Hash128 hash = Checksum128(page, kPageSize);
  return {hash.low, hash.high};
}

uint64_t ChecksumOfSums(const PageSum* sums, uint64_t pages) {
  PageSum stored[kPagesPerBlock];
  size_t count = 0;
  for (; pages != 0; pages &= pages - 1) stored[count++] = sums[std::countr_zero(pages)];
  return Checksum(stored, count * sizeof(PageSum));
}

uint64_t ChecksumOfPages(const std::byte* bytes, uint64_t pages) {
  PageSum sums[kPagesPerBlock];
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const auto page = static_cast<size_t>(std::countr_zero(left));
    sums[page] = SumOfPage(bytes + page * kPageSize);
  }
  return ChecksumOfSums(sums, pages);
}

void StateSum::Add(uint32_t section, uint64_t block, const PageSum* sums) {
  const auto is_zero = [](const PageSum& sum) { return sum == PageSum{0, 0}; };
  if (std::all_of(sums, sums + kPagesPerBlock, is_zero)) return;
  PlacedSums placed{};
  placed.section = section;
  placed.block = static_cast<uint32_t>(block);
  memcpy(placed.pages, sums, sizeof placed.pages);
  const Hash128 hash = Checksum128(&placed, sizeof placed);
  value_.low += hash.low;
  value_.high += hash.high;
}

void StateSum::AddPages(uint32_t section, uint64_t block, const std::byte* bytes, uint64_t length) {
  PageSum sums[kPagesPerBlock] = {};
  for (uint64_t page = 0; page < length / kPageSize; page++) {
    const std::byte* at = bytes + page * kPageSize;
    if (!IsZeroPage(at)) sums[page] = SumOfPage(at);
  }
  Add(section, block, sums);
}

void StateSum::Add(const StateSum& other) {
  value_.low += other.value_.low;
  value_.high += other.value_.high;
}

}  // namespace stillframe
