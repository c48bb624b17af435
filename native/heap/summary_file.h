// A heap summary in a file of its own, written just before a copy writes a heap snapshot: the
// summary remains if the heap snapshot turns out to take more memory than there is.
#pragma once

#include <v8.h>

#include <vector>

#include "heap/heap_summary.h"
#include "heap/output.h"
#include "publish/target_file.h"

namespace stillframe {

// Called in the copy. A process forked from the copy writes and publishes the file, since reading
// the heap's pages may end in a fault and leave V8 in an inconsistent state. Returns when that
// process has ended, which is at the latest when the copy ends. If the file cannot be written, the
// copy continues without it.
void WriteSummaryFile(v8::Isolate* isolate, const SummaryRequest& request,
                      const std::vector<AddressRange>& v8_memory, const TargetPlan& target,
                      const Output& beside);

}  // namespace stillframe
