// A summary of a V8 heap: V8's own statistics and a histogram of the objects in the heap. A forked
// copy that has hardly any memory available can write it. docs/HEAP.md says what a summary is and
// what it is not, and lib/heap/summary.ts has its shape.
//
// The copy may have been forked in the middle of a garbage collection, with the heap at its limit.
// So the objects are found by reading memory (heap_walk.h). V8 is asked only for its statistics and
// for the names of constructors, with a guard around each question: a question that ends in a fault
// leaves one class without a name.
#pragma once

#include <v8.h>

#include <cstdint>
#include <string>
#include <vector>

#include "heap/output.h"
#include "memory/mapping_list.h"

namespace stillframe {

// Bytes that a summary may take even if less is left: the copy is the first process that the kernel
// kills, and the service keeps the rest.
inline constexpr uint64_t kSummaryMemory = uint64_t{64} << 20;

struct SummaryRequest {
  std::string trigger;  // why the summary is made, in one word
  uint64_t pid = 0;     // of the service
  uint64_t thread = 0;
  bool redact = false;  // leaves out the contents of strings
};

// Called in the service when the addon is loaded.
void PrepareSummary(const std::string& node_version);

// Called in a copy that does nothing else. `v8_memory` is the memory where V8's pages may be, in
// ascending order. The summary is always complete JSON; it says so if it lacks a part that could
// not be determined.
void WriteSummary(v8::Isolate* isolate, const SummaryRequest& request,
                  const std::vector<AddressRange>& v8_memory, Output* output);

}  // namespace stillframe
