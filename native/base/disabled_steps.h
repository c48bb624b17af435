// Every fallback can be forced by the environment variable STILLFRAME_DISABLE, a comma-separated
// list of steps to do without. It is read once. The names are: clone3, close_range, o_tmpfile,
// o_direct, link, noreplace, exchange, collapse, userfaultfd, userfaultfd_thread, helpers (all
// savers but the first), bounded_park (the call waits for V8's threads as long as it takes; for
// tests on busy machines that examine the contents of a copy).
#pragma once

namespace stillframe {

bool StepDisabled(const char* name);

}  // namespace stillframe
