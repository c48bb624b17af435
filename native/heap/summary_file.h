// A heap summary in a file of its own, made while the copy is about to write a heap snapshot: what
// is left if that turns out to take more memory than there is.
#pragma once

#include <v8.h>

#include <vector>

#include "heap/heap_summary.h"
#include "heap/output.h"
#include "publish/target_file.h"

namespace stillframe {

// Called in the copy. A process that is forked from it writes and publishes the file, since reading
// the heap's pages may end in a fault and leave V8 half changed. Returns when that process has
// ended, which it does at the latest with the copy. Without a file the copy goes on all the same.
void WriteSummaryFile(v8::Isolate* isolate, const SummaryRequest& request,
                      const std::vector<AddressRange>& v8_memory, const TargetPlan& target,
                      const Output& beside);

}  // namespace stillframe
