// What every forked copy that uses V8 does, between its hardening and its end.
#pragma once

#include <v8.h>

#include <vector>

#include "heap/fresh_ids.h"
#include "heap/output.h"
#include "memory/mapping_list.h"

namespace stillframe {

// Takes V8's limits and faults away from the host's handlers. Using what is left out of the copy ends
// it with a word to the service; the ranges have to last.
void BeginInCopy(v8::Isolate* isolate, const HeapControl& control,
                 const std::vector<AddressRange>& left_out);

// Ends the process if V8 cannot take the snapshot. `redact`: without the contents of strings.
void WriteHeapSnapshot(v8::Isolate* isolate, Output* output, IdMover mover, bool redact = false);

}  // namespace stillframe
