// Features of this kernel, probed once by using them, never by version.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stillframe {

struct Feature {
  std::string name;
  bool available = false;
  std::string reason;    // why it is unavailable, and what to change
  bool passing = false;  // the reason may be gone at the next try
};

struct Hazard {
  std::string code;
  std::string message;
};

struct MachineReport {
  std::string kernel;
  std::vector<Feature> engines;
  std::vector<Feature> features;
  std::vector<Hazard> hazards;
};

MachineReport ProbeMachine();
// Only the engines, and the features that the choice of an engine depends on.
MachineReport ProbeEngines();

// Hazards for a capture of this many bytes.
std::vector<Hazard> HazardsFor(uint64_t source_bytes);

}  // namespace stillframe
