#include "addon/describe_image.h"

#include "addon/builder.h"

namespace stillframe {

napi_value IdOf(Napi::Env env, const uint8_t* id) {
  napi_value buffer = nullptr;
  napi_create_buffer_copy(env, sizeof FileHeader::id, id, nullptr, &buffer);
  return buffer;
}

napi_value DescribeImage(Napi::Env env, const ImageFile& image) {
  const FileHeader& header = image.header();
  ObjectBuilder info(env);
  image.is_delta() ? info.Value("parentId", IdOf(env, header.parent_id))
                   : info.Undefined("parentId");
  info.Value("id", IdOf(env, header.id))
      .Unsigned("versionMajor", header.version_major)
      .Unsigned("versionMinor", header.version_minor)
      .String("layout", image.layout().name())
      .Number("frozenAtMs", static_cast<double>(header.frozen_at_ns) / 1'000'000)
      .Unsigned("pageSize", header.page_size)
      .Unsigned("blockSize", header.block_size)
      .Unsigned("fileSize", image.file_length())
      .Unsigned("allocatedBytes", image.allocated_bytes());
  image.metadata().empty() ? info.Undefined("metadata") : info.String("metadata", image.metadata());
  info.Value("sections", ArrayOf(env, image.sections(), [&](const ImageFile::Section& section) {
               return ObjectBuilder(env)
                   .String("name", section.name)
                   .Unsigned("byteLength", section.byte_length)
                   .Unsigned("storedBytes", section.stored_bytes)
                   .Unsigned("fileOffset", section.data_offset)
                   .object();
             }));
  return info.object();
}

napi_value DescribeProblems(Napi::Env env, const std::vector<ImageProblem>& problems) {
  return ArrayOf(env, problems, [&](const ImageProblem& problem) {
    return ObjectBuilder(env)
        .Unsigned("offset", problem.offset)
        .String("section", problem.section)
        .String("reason", problem.reason)
        .object();
  });
}

ReadLimits LimitsOf(Reader* plan) {
  return plan->Group("limits", [](Reader* group) {
    ReadLimits limits;
    limits.sections = group->Unsigned("sections");
    limits.metadata_bytes = group->Unsigned("metadataBytes");
    limits.metadata_values = group->Unsigned("metadataValues");
    limits.metadata_depth = group->Unsigned("metadataDepth");
    return limits;
  });
}

std::optional<std::vector<std::string>> SectionsOf(Reader* plan) {
  const napi_value sections = plan->Get("sections");
  if (plan->TypeOf(sections) != napi_object) return std::nullopt;
  std::vector<std::string> chosen;
  Reader names(plan->env(), sections);
  const uint32_t length = names.Length();
  for (uint32_t i = 0; i < length && names.ok(); i++) chosen.push_back(names.Text(names.At(i)));
  plan->Include(names);
  return chosen;
}

std::vector<std::string> ParentsOf(Reader* plan) {
  std::vector<std::string> parents;
  Reader paths(plan->env(), plan->Get("parents"));
  const uint32_t length = paths.Length();
  for (uint32_t i = 0; i < length && paths.ok(); i++) parents.push_back(paths.Text(paths.At(i)));
  plan->Include(paths);
  return parents;
}

}  // namespace stillframe
