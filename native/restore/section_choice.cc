#include "restore/section_choice.h"

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "memory/mapping_budget.h"

namespace stillframe {
namespace {

// Limit of the names listed when a section is requested that the file does not have.
constexpr size_t kNamesInMessage = 16;

using Sections = std::vector<ImageFile::Section>;

Failure InSection(const std::string& section, Failure failure) {
  failure.section = section;
  return failure;
}

Failure NoSuchSection(const std::string& name, const Sections& sections) {
  std::string message = "the file has no section '" + name + "'; it has";
  for (size_t i = 0; i < sections.size() && i < kNamesInMessage; i++) {
    message += " '" + sections[i].name + "'";
  }
  if (sections.size() > kNamesInMessage) {
    message += " and " + std::to_string(sections.size() - kNamesInMessage) + " more";
  }
  return InSection(name, Fail(FailureCode::kNoSection, std::move(message)));
}

Status CheckDestination(const ImageFile::Section& section, const Destination& destination) {
  if (section.byte_length <= destination.byte_length) return Success{};
  return InSection(section.name,
                   Fail(FailureCode::kOutOfRange, "section '" + section.name + "' holds " +
                                                      std::to_string(section.byte_length) +
                                                      " bytes, and the memory it is to fill has " +
                                                      std::to_string(destination.byte_length)));
}

Status CheckTotal(uint64_t total, const RestorePlan& plan) {
  if (plan.max_bytes == 0 || total <= plan.max_bytes) return Success{};
  return Fail(FailureCode::kOutOfRange, "the sections to restore hold " + std::to_string(total) +
                                            " bytes, more than maxBytes (" +
                                            std::to_string(plan.max_bytes) + ")");
}

Status CheckMappings(uint64_t regions, const RestorePlan& plan) {
  const uint64_t most = plan.max_mappings ? *plan.max_mappings : MappingBudget();
  if (regions <= most) return Success{};
  return Fail(
      FailureCode::kOutOfRange,
      "restoring " + std::to_string(regions) + " sections takes as many mappings of memory, and " +
          (plan.max_mappings ? "limits.mappings allows " : "this process can spare ") +
          std::to_string(most) +
          ": restore fewer at a time (sections), restore into existing memory (into), or raise "
          "vm.max_map_count or limits.mappings");
}

}  // namespace

Result<std::vector<uint32_t>> ChooseSections(const ImageFile& image, const RestorePlan& plan) {
  const Sections& sections = image.sections();
  std::unordered_map<std::string_view, const ImageFile::Section*> by_name;
  for (const auto& section : sections) by_name.emplace(section.name, &section);
  std::unordered_set<std::string_view> wanted;
  if (plan.sections) wanted.insert(plan.sections->begin(), plan.sections->end());
  for (const Destination& destination : plan.into) wanted.insert(destination.section);
  for (const std::string_view name : wanted) {
    if (by_name.count(name) == 0) return NoSuchSection(std::string(name), sections);
  }
  std::vector<uint32_t> chosen;
  uint64_t total = 0;
  for (uint32_t i = 0; i < sections.size(); i++) {
    if (plan.sections && wanted.count(sections[i].name) == 0) continue;
    chosen.push_back(i);
    total += sections[i].byte_length;
  }
  if (Status fits = CheckTotal(total, plan); !fits.ok()) return fits.failure();
  for (const Destination& destination : plan.into) {
    Status fits = CheckDestination(*by_name.at(destination.section), destination);
    if (!fits.ok()) return fits.failure();
  }
  Status mappings = CheckMappings(chosen.size() - plan.into.size(), plan);
  if (!mappings.ok()) return mappings.failure();
  return chosen;
}

}  // namespace stillframe
