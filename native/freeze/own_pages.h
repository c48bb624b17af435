// A precondition of engines that protect memory by the page: no two sources share a page.
#pragma once

#include <vector>

#include "freeze/engine.h"

namespace stillframe {

// This is part of the pause. Its time grows with the number of sources as sorting them does.
Status CheckOwnPages(const std::vector<FreezeSource>& sources);

}  // namespace stillframe
