// Whether a forked copy can be ended and waited for on this machine, found out by doing it with a
// process that does nothing.
#pragma once

#include "freeze/features.h"

namespace stillframe {

// Tries it. That takes some 100 us, and at most about a second where nothing works.
Feature ProbeFork();

// The same, tried only once in the life of the process unless the reason is a passing one.
Feature KnownFork();

}  // namespace stillframe
