// Every fallback has a switch that forces it: the environment variable STILLFRAME_DISABLE, a list
// with commas, which is read once. It names what to do without: clone3, close_range, o_tmpfile,
// o_direct, exchange, collapse, userfaultfd, userfaultfd_thread, helpers (savers beside the first
// one), bounded_park (the call waits for V8's threads for as long as it takes: for tests of what a
// copy is, on busy machines).
#pragma once

namespace stillframe {

bool StepDisabled(const char* name);

}  // namespace stillframe
