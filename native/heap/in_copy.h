// The common work of all forked copies that use V8, between their hardening and their end.
#pragma once

#include <v8.h>

#include <vector>

#include "heap/fresh_ids.h"
#include "heap/output.h"
#include "memory/mapping_list.h"

namespace stillframe {

// Replaces the host's handlers for V8's heap limit and for faults. An access to memory in
// `left_out` ends the copy and leaves a flag for the service; the vector has to outlive the copy's
// work.
void BeginInCopy(v8::Isolate* isolate, const HeapControl& control,
                 const std::vector<AddressRange>& left_out);

// Ends the process if V8 cannot take the heap snapshot. `redact` leaves out the contents of
// strings.
void WriteHeapSnapshot(v8::Isolate* isolate, Output* output, IdMover mover, bool redact = false);

}  // namespace stillframe
