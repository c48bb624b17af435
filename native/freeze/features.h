// What this kernel lets us do, probed once by doing it, never by version.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stillframe {

struct Feature {
  std::string name;
  bool available = false;
  std::string reason;    // why not, and what to change
  bool passing = false;  // the reason is one that may be gone at the next try
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
// Its engines and the features that the choice of one depends on, and nothing else.
MachineReport ProbeEngines();

// What could go wrong for a capture of so many bytes.
std::vector<Hazard> HazardsFor(uint64_t source_bytes);

}  // namespace stillframe
