// What an engine that protects memory by the page requires of its sources: that each has its pages
// to itself.
#pragma once

#include <vector>

#include "freeze/engine.h"

namespace stillframe {

// It is part of the pause: its time grows with the number of sources as that of sorting them does.
Status CheckOwnPages(const std::vector<FreezeSource>& sources);

}  // namespace stillframe
