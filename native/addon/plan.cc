#include "addon/plan.h"

namespace stillframe {

TargetPlan ReadTarget(Reader* plan) {
  return plan->Group("target", [](Reader* group) {
    TargetPlan target;
    target.path = group->String("path");
    target.options.overwrite = group->Bool("overwrite");
    target.options.mode = static_cast<mode_t>(group->Unsigned("mode"));
    target.options.durable = group->Bool("durable");
    return target;
  });
}

Encoding ReadEncoding(Reader* plan) {
  return plan->Group("encoding", [](Reader* group) {
    if (group->String("codec") != "zstd") return Encoding{};
    return Encoding{Layout::kPacked, Codec::kZstd, static_cast<int>(group->Number("level"))};
  });
}

Pacing ReadPacing(Reader* plan) {
  return plan->Group("pacing", [](Reader* group) {
    Pacing pacing;
    pacing.max_bytes_per_second = group->Unsigned("maxBytesPerSecond");
    pacing.nice = static_cast<int>(group->Unsigned("nice"));
    return pacing;
  });
}

JobLimits ReadJobLimits(Reader* plan) {
  return plan->Group("limits", [](Reader* group) {
    JobLimits limits;
    limits.memory_limit = group->Unsigned("memoryLimit");
    limits.at_limit = group->String("onMemoryLimit") == "abort" ? AtLimit::kAbort : AtLimit::kWait;
    limits.stall_timeout_ms = static_cast<int64_t>(group->Number("stallTimeoutMs"));
    limits.timeout_ms = static_cast<int64_t>(group->Number("timeoutMs"));
    return limits;
  });
}

}  // namespace stillframe
