#include "freeze/own_pages.h"

#include <algorithm>
#include <iterator>

#include "memory/page.h"

namespace stillframe {

Status CheckOwnPages(const std::vector<FreezeSource>& sources) {
  for (const FreezeSource& source : sources) {
    if (reinterpret_cast<uintptr_t>(source.data) % SystemPageSize() == 0) continue;
    return Fail(FailureCode::kEngineUnavailable,
                "a source does not begin on a page, and only whole pages can be write-protected");
  }
  // Sorted by address, because a capture may have tens of thousands of sources and this is
  // part of its pause.
  std::vector<FreezeSource> ascending;
  ascending.reserve(sources.size());
  std::copy_if(sources.begin(), sources.end(), std::back_inserter(ascending),
               [](const FreezeSource& source) { return source.byte_length > 0; });
  std::sort(ascending.begin(), ascending.end(),
            [](const FreezeSource& a, const FreezeSource& b) { return a.data < b.data; });
  for (size_t i = 1; i < ascending.size(); i++) {
    const FreezeSource& before = ascending[i - 1];
    // All sources begin on a page: a source that begins after the last byte begins after its page.
    if (before.data + before.byte_length <= ascending[i].data) continue;
    return Fail(FailureCode::kEngineUnavailable,
                "two sources share a page, which this engine cannot capture twice");
  }
  return Success{};
}

}  // namespace stillframe
