// A summary of a V8 heap, written by a forked copy that has next to no memory for it: what V8 says
// of the heap, and a histogram of the objects that lie in it. See docs/HEAP.md for what it is and
// is not, and lib/heap/summary.ts for its shape.
//
// The copy may have been forked in the middle of a garbage collection, with the heap at its limit.
// So the objects are found by reading memory (heap_walk.h); V8 is asked only for its statistics,
// and for the names of constructors, each question on its own: one that ends in a fault leaves one
// class without a name.
#pragma once

#include <v8.h>

#include <cstdint>
#include <string>
#include <vector>

#include "heap/output.h"
#include "memory/mapping_list.h"

namespace stillframe {

// Bytes that a summary may take, however little is left: the copy is the first that the kernel kills,
// and the service keeps the rest.
inline constexpr uint64_t kSummaryMemory = uint64_t{64} << 20;

struct SummaryRequest {
  std::string trigger;  // why it is made, in a word
  uint64_t pid = 0;     // of the service
  uint64_t thread = 0;
  bool redact = false;  // no content of strings
};

// Called in the service, when the addon is loaded.
void PrepareSummary(const std::string& node_version);

// Called in the copy, whose only work it is. `v8_memory` is where V8's pages may be, in ascending
// order. What cannot be told is missing, and the summary says so; it is whole JSON in any case.
void WriteSummary(v8::Isolate* isolate, const SummaryRequest& request,
                  const std::vector<AddressRange>& v8_memory, Output* output);

}  // namespace stillframe
