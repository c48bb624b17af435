// What an engine that protects memory by the page asks of its sources: that each has its pages to itself.
#pragma once

#include <vector>

#include "freeze/engine.h"

namespace stillframe {

// A part of the pause: what it takes grows with the number of sources as sorting them does.
Status CheckOwnPages(const std::vector<FreezeSource>& sources);

}  // namespace stillframe
