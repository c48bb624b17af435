// Finds out whether a forked copy can be ended and waited for on this machine, by trying it with a
// process that does nothing.
#pragma once

#include "freeze/features.h"

namespace stillframe {

// Tries it. Takes some 100 µs, and at most about a second where nothing works.
Feature ProbeFork();

// The same, but tried only once in the life of the process, unless the failure is temporary.
Feature KnownFork();

}  // namespace stillframe
