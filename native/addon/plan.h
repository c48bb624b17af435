// Reads the groups of options that the plans of both addons have in common. Their shapes are in
// lib/addon/addon.ts.
#pragma once

#include "addon/reader.h"
#include "capture/job_limits.h"
#include "image/encoding.h"
#include "image/pacing.h"
#include "publish/target_file.h"

namespace stillframe {

// They read the members `target`, `encoding`, `pacing` and `limits`.
TargetPlan ReadTarget(Reader* plan);
Encoding ReadEncoding(Reader* plan);
Pacing ReadPacing(Reader* plan);
JobLimits ReadJobLimits(Reader* plan);

}  // namespace stillframe
