// V8's platform, whose worker threads have to be parked for every fork.
#pragma once

#include <node.h>
#include <v8.h>

namespace stillframe {

inline v8::Platform* PlatformOf(v8::Isolate* isolate) {
  return node::GetMultiIsolatePlatform(node::GetCurrentEnvironment(isolate->GetCurrentContext()));
}

}  // namespace stillframe
