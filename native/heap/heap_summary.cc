#include "heap/heap_summary.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/utc_time.h"
#include "heap/class_histogram.h"
#include "heap/fault_guard.h"
#include "heap/heap_layout.h"
#include "heap/heap_pages.h"
#include "heap/heap_walk.h"
#include "heap/json_writer.h"

namespace stillframe {
namespace {

// Slots of 40 bytes each: 5 MiB. Three quarters of them can be used; big services have about ten
// thousand maps.
constexpr size_t kMapSlots = size_t{1} << 17;
// The most classes listed by name, and the most characters of a name.
constexpr size_t kMostClasses = 5'000;
constexpr size_t kMostCharacters = 100;
// The depth to which strings that are composed of other strings are followed.
constexpr int kDeepestString = 100;
// V8 keeps its Heap inside its Isolate, which has about 64 KiB.
constexpr uintptr_t kIsolateBytes = uintptr_t{256} << 10;
// The tolerance between the walk and V8's own statistics. They differ by reserved memory, and by
// the young generation, whose pages may hold garbage that V8 no longer counts. After a collection
// they agreed within 1 %.
constexpr uint64_t kAgreementPercent = 10;
constexpr uint64_t kAgreementBytes = uint64_t{2} << 20;

using Internals = v8::internal::Internals;

template <typename T>
v8::Local<T> LocalAt(const uintptr_t* slot) {
  v8::Local<T> local;
  static_assert(sizeof local == sizeof slot, "a Local is the address of a slot");
  memcpy(static_cast<void*>(&local), &slot, sizeof local);
  return local;
}

// A slot for an object whose address is known.
class Slot {
 public:
  explicit Slot(uintptr_t address) : tagged_(address + 1) {}
  template <typename T>
  v8::Local<T> As() const {
    return LocalAt<T>(&tagged_);
  }

 private:
  uintptr_t tagged_;
};

uintptr_t WordAt(uintptr_t address) { return *reinterpret_cast<const uintptr_t*>(address); }

// The version of the running Node, not of the headers that this was built with.
std::string& NodeVersion() {
  static std::string version;
  return version;
}

class Summary {
 public:
  Summary(v8::Isolate* isolate, const SummaryRequest& request, Output* output)
      : isolate_(isolate),
        request_(request),
        json_([output](std::string_view piece) { output->Append(piece.data(), piece.size()); }) {}

  void Write(const std::vector<AddressRange>& v8_memory) {
    json_.BeginObject();
    WriteHead();
    WriteStatistics();
    Walk(v8_memory);
    WriteEnd();
    json_.EndObject();
  }

 private:
  void WriteHead();
  void WriteStatistics();
  void Walk(const std::vector<AddressRange>& v8_memory);
  void CompareWithStatistics(const WalkResult& walked);
  void WriteClasses(const MapTable& maps, const WalkResult& walked);
  void WriteStrings(const WalkResult& walked);
  void WriteBuffers(const WalkResult& walked);
  void WriteEnd();

  std::string ConstructorOf(uintptr_t object);
  std::string_view NameOf(const MapCount& map, std::string_view* type, std::string* constructor);
  struct Characters {
    uint16_t units[kMostCharacters];
    size_t length = 0;
    size_t most = 0;
  };
  void Collect(uintptr_t string, size_t skip, int depth, Characters* to) const;
  std::string StartOf(uintptr_t string) const;
  uint16_t TypeOf(uintptr_t object) const;
  uint32_t LengthOf(uintptr_t string) const;
  std::vector<HeapWalk::Gap> Gaps() const;
  // Only the first reason is reported.
  void Cut(const std::string& reason) {
    if (reason_.empty()) reason_ = reason;
  }

  v8::Isolate* isolate_;
  const SummaryRequest& request_;
  JsonWriter json_;
  const HeapLayout* layout_ = nullptr;
  uint64_t used_bytes_ = 0;   // from V8's own statistics
  uint64_t young_bytes_ = 0;  // likewise: the size of the pages of the young generation
  std::string reason_;        // why the summary is not complete
};

void Summary::WriteHead() {
  json_.Member("format", "stillframe-heap-summary");
  json_.Member("version", 1);
  json_.Member("node", NodeVersion());
  json_.Member("v8", v8::V8::GetVersion());
  json_.Member("pid", request_.pid);
  json_.Member("thread", request_.thread);
  json_.Member("time", UtcTime(WallNanoseconds()));
  json_.Member("trigger", request_.trigger);
  json_.Key("redacted"), json_.Bool(request_.redact);
}

void Summary::WriteStatistics() {
  v8::HeapStatistics heap;
  isolate_->GetHeapStatistics(&heap);
  used_bytes_ = heap.used_heap_size();
  json_.Key("heap"), json_.BeginObject();
  json_.Member("usedBytes", heap.used_heap_size());
  json_.Member("totalBytes", heap.total_heap_size());
  json_.Member("limitBytes", heap.heap_size_limit());
  json_.Member("availableBytes", heap.total_available_size());
  json_.Member("physicalBytes", heap.total_physical_size());
  json_.Member("executableBytes", heap.total_heap_size_executable());
  json_.Member("externalBytes", heap.external_memory());
  json_.Member("mallocedBytes", heap.malloced_memory());
  json_.Member("mallocedPeakBytes", heap.peak_malloced_memory());
  json_.Member("globalHandlesBytes", heap.total_global_handles_size());
  json_.EndObject();
  json_.Key("contexts"), json_.BeginObject();
  json_.Member("native", heap.number_of_native_contexts());
  json_.Member("detached", heap.number_of_detached_contexts());
  json_.EndObject();
  v8::HeapCodeStatistics code;
  isolate_->GetHeapCodeAndMetadataStatistics(&code);
  json_.Key("code"), json_.BeginObject();
  json_.Member("codeBytes", code.code_and_metadata_size());
  json_.Member("bytecodeBytes", code.bytecode_and_metadata_size());
  json_.Member("externalSourceBytes", code.external_script_source_size());
  json_.EndObject();
  json_.Key("spaces"), json_.BeginArray();
  for (size_t i = 0; i < isolate_->NumberOfHeapSpaces(); i++) {
    v8::HeapSpaceStatistics space;
    if (!isolate_->GetHeapSpaceStatistics(&space, i)) continue;
    if (std::string_view(space.space_name()) == "new_space") young_bytes_ = space.space_size();
    json_.BeginObject();
    json_.Member("name", space.space_name());
    json_.Member("usedBytes", space.space_used_size());
    json_.Member("totalBytes", space.space_size());
    json_.Member("availableBytes", space.space_available_size());
    json_.Member("physicalBytes", space.physical_space_size());
    json_.EndObject();
  }
  json_.EndArray();
}

void Summary::Walk(const std::vector<AddressRange>& v8_memory) {
  const std::optional<HeapLayout>& layout = HeapLayout::OfThisProcess();
  if (!layout) {
    return Cut(
        "this build of Node does not tell how objects lie in its heap (v8dbg_*): there is "
        "no histogram");
  }
  layout_ = &*layout;
  const auto isolate = reinterpret_cast<uintptr_t>(isolate_);
  const HeapPages pages = HeapPages::Find(PageFormatOf(V8_MAJOR_VERSION), v8_memory,
                                          {isolate, isolate + kIsolateBytes});
  MapTable maps(kMapSlots);
  const WalkResult walked = HeapWalk(*layout_, pages, Gaps(), &maps).Run();
  CompareWithStatistics(walked);
  json_.Key("objects"), json_.BeginObject();
  json_.Member("count", walked.objects.count);
  json_.Member("shallowBytes", walked.objects.bytes);
  json_.Member("freeBytes", walked.free_bytes);
  json_.Member("unreadBytes", walked.skipped_bytes);
  json_.EndObject();
  WriteStrings(walked);
  WriteBuffers(walked);
  WriteClasses(maps, walked);
}

// The areas where V8 allocates next. Their contents are stale.
std::vector<HeapWalk::Gap> Summary::Gaps() const {
  std::vector<HeapWalk::Gap> gaps;
  for (const int offset :
       {Internals::kNewAllocationInfoOffset, Internals::kOldAllocationInfoOffset}) {
    const uintptr_t area = reinterpret_cast<uintptr_t>(isolate_) + static_cast<uintptr_t>(offset);
    gaps.push_back({WordAt(area + sizeof(uintptr_t)), WordAt(area + 2 * sizeof(uintptr_t))});
  }
  return gaps;
}

// Detects a layout that is not what we expect.
void Summary::CompareWithStatistics(const WalkResult& walked) {
  const uint64_t seen = walked.objects.bytes;
  const uint64_t apart = kAgreementBytes + used_bytes_ * kAgreementPercent / 100;
  if (seen + apart < used_bytes_ || seen > used_bytes_ + apart + young_bytes_) {
    Cut("objects of " + std::to_string(seen) + " bytes were found, and V8 says that " +
        std::to_string(used_bytes_) + " are in use: do not rely on the histogram");
  } else if (walked.faults != 0) {
    Cut(std::to_string(walked.faults) + " pages of the heap could not be read to their end");
  }
}

void Summary::WriteStrings(const WalkResult& walked) {
  json_.Key("strings"), json_.BeginObject();
  json_.Member("count", walked.strings.count);
  json_.Member("shallowBytes", walked.strings.bytes);
  json_.Member("externalBytes", walked.external_string_bytes);
  json_.Key("largest"), json_.BeginArray();
  for (const Sized& string : walked.largest_strings) {
    const uint16_t type = TypeOf(string.address);
    json_.BeginObject();
    json_.Member("bytes", string.bytes);
    json_.Member("length",
                 (type & HeapLayout::kOneByteFlag) != 0 ? string.bytes : string.bytes / 2);
    const bool external = (type & HeapLayout::kRepresentationMask) == HeapLayout::kExternal;
    json_.Key("external"), json_.Bool(external);
    if (!request_.redact) json_.Member("start", StartOf(string.address));
    json_.EndObject();
  }
  json_.EndArray();
  json_.EndObject();
}

void Summary::WriteBuffers(const WalkResult& walked) {
  json_.Key("buffers"), json_.BeginObject();
  json_.Member("count", walked.buffers.count);
  json_.Member("bytes", walked.buffers.bytes);
  json_.Key("largest"), json_.BeginArray();
  for (const Sized& buffer : walked.largest_buffers) {
    json_.BeginObject();
    json_.Member("bytes", buffer.bytes);
    json_.EndObject();
  }
  json_.EndArray();
  json_.EndObject();
}

void Summary::WriteClasses(const MapTable& maps, const WalkResult& walked) {
  ClassHistogram classes(kMostClasses);
  // The largest first, so that they get a name whatever happens afterwards.
  std::vector<const MapCount*> sorted;
  for (const MapCount& map : maps.slots()) {
    if (map.objects.count != 0) sorted.push_back(&map);
  }
  std::sort(sorted.begin(), sorted.end(), [](const MapCount* a, const MapCount* b) {
    return a->objects.bytes > b->objects.bytes;
  });
  for (const MapCount* map : sorted) {
    std::string_view type;
    std::string constructor;
    const std::string_view name = NameOf(*map, &type, &constructor);
    classes.Add(name, type, map->objects);
  }
  classes.AddToOthers(walked.without_table);
  if (classes.others().count != 0) Cut("there are more classes than are told one by one");
  json_.Key("classes"), json_.BeginArray();
  for (const ClassCount& counted : classes.Sorted()) {
    json_.BeginObject();
    json_.Member("name", counted.name);
    json_.Member("type", counted.type);
    json_.Member("count", counted.objects.count);
    json_.Member("shallowBytes", counted.objects.bytes);
    json_.EndObject();
  }
  json_.EndArray();
  json_.Key("others"), json_.BeginObject();
  json_.Member("count", classes.others().count);
  json_.Member("shallowBytes", classes.others().bytes);
  json_.EndObject();
}

void Summary::WriteEnd() {
  json_.Key("complete"), json_.Bool(reason_.empty());
  if (!reason_.empty()) json_.Member("reason", reason_);
}

// The name that V8's own heap snapshots use. `constructor` is storage for a name from the program.
std::string_view Summary::NameOf(const MapCount& map, std::string_view* type,
                                 std::string* constructor) {
  *type = "string";
  if (layout_->IsString(map.type)) {
    switch (map.type & HeapLayout::kRepresentationMask) {
      case HeapLayout::kConcatenated:
        *type = "concatenated string";
        return "(concatenated string)";
      case HeapLayout::kSliced:
        *type = "sliced string";
        return "(sliced string)";
      case HeapLayout::kExternal:
        return "(external string)";
      default:
        return "(string)";
    }
  }
  *type = "object";
  if (layout_->IsContext(map.type)) return "system / Context";
  *type = "hidden";
  if (HeapLayout::Has(layout_->shapes, map.type)) {
    *type = "object shape";
    return "(object shape)";
  }
  if (HeapLayout::Has(layout_->code, map.type)) {
    *type = "code";
    return "(code)";
  }
  if (map.kind == ObjectKind::kWords || map.kind == ObjectKind::kBytes ||
      map.kind == ObjectKind::kProperties) {
    *type = "array";
    return "(array)";
  }
  std::string_view name;
  FaultGuard::Try([&] {
    const Slot slot(map.sample);
    const auto value = slot.As<v8::Value>();
    if (value->IsFunction()) {
      *type = "closure";
      name = "(closure)";
    } else if (value->IsObject()) {
      *type = value->IsRegExp() ? "regexp" : "object";
    } else if (value->IsSymbol()) {
      *type = "symbol", name = "(symbol)";
    } else if (value->IsBigInt()) {
      *type = "bigint", name = "(bigint)";
    } else if (value->IsNumber()) {
      *type = "number", name = "(number)";
    }
  });
  if (!name.empty()) return name;
  if (*type == "hidden") return "(system)";
  *constructor = ConstructorOf(map.sample);
  if (constructor->empty()) return "(unknown)";
  return *constructor;
}

std::string Summary::ConstructorOf(uintptr_t object) {
  uintptr_t string = 0;
  FaultGuard::Try([&] {
    const v8::HandleScope scope(isolate_);
    const Slot slot(object);
    const v8::Local<v8::String> found = slot.As<v8::Object>()->GetConstructorName();
    const uintptr_t* found_at = nullptr;
    memcpy(&found_at, &found, sizeof found_at);
    string = *found_at - 1;
  });
  return string == 0 ? std::string() : StartOf(string);
}

uint16_t Summary::TypeOf(uintptr_t object) const {
  uint16_t type = 0;
  const uintptr_t map = WordAt(object) - 1;
  memcpy(&type, reinterpret_cast<const void*>(map + layout_->instance_type), sizeof type);
  return type;
}

uint32_t Summary::LengthOf(uintptr_t string) const {
  uint32_t length = 0;
  memcpy(&length, reinterpret_cast<const void*>(string + layout_->string_length), sizeof length);
  return length;
}

// Copies the first characters of a string, from `skip` on. V8 itself would first flatten the
// string.
void Summary::Collect(uintptr_t string, size_t skip, int depth, Characters* to) const {
  // A string may contain the same strings again and again: without this check even a string that
  // takes little memory would take forever.
  if (to->length >= to->most) return;
  const uint16_t type = TypeOf(string);
  const auto within = [&](size_t offset) { return WordAt(string + offset) - 1; };
  const void* characters = nullptr;
  const bool narrow = (type & HeapLayout::kOneByteFlag) != 0;
  switch (type & HeapLayout::kRepresentationMask) {
    case HeapLayout::kFlat:
      characters = reinterpret_cast<const void*>(string + layout_->string_characters);
      break;
    case HeapLayout::kExternal: {
      const Slot slot(string);
      const auto local = slot.As<v8::String>();
      characters = narrow
                       ? static_cast<const void*>(local->GetExternalOneByteStringResource()->data())
                       : static_cast<const void*>(local->GetExternalStringResource()->data());
      break;
    }
    default:
      if (depth >= kDeepestString) return;
  }
  switch (type & HeapLayout::kRepresentationMask) {
    case HeapLayout::kThin:
      return Collect(within(layout_->thin_string_actual), skip, depth + 1, to);
    case HeapLayout::kSliced:
      skip += WordAt(string + layout_->sliced_string_offset) >> 32;
      return Collect(within(layout_->sliced_string_parent), skip, depth + 1, to);
    case HeapLayout::kConcatenated:
      Collect(within(layout_->cons_string_first), skip, depth + 1, to);
      return Collect(within(layout_->cons_string_second), 0, depth + 1, to);
    default:
      break;
  }
  if (characters == nullptr) return;
  const size_t length = LengthOf(string);
  for (size_t i = skip; i < length && to->length < to->most; i++) {
    to->units[to->length++] = narrow ? static_cast<const uint8_t*>(characters)[i]
                                     : static_cast<const uint16_t*>(characters)[i];
  }
}

std::string Summary::StartOf(uintptr_t string) const {
  Characters characters;
  FaultGuard::Try([&] {
    characters.most = std::min<size_t>(LengthOf(string), kMostCharacters);
    Collect(string, 0, 0, &characters);
  });
  std::string start;
  AppendUtf8(characters.units, characters.length, &start);
  return start;
}

}  // namespace

void PrepareSummary(const std::string& node_version) {
  NodeVersion() = node_version;
  HeapLayout::OfThisProcess();
}

void WriteSummary(v8::Isolate* isolate, const SummaryRequest& request,
                  const std::vector<AddressRange>& v8_memory, Output* output) {
  FaultGuard::Install();
  Summary(isolate, request, output).Write(v8_memory);
}

}  // namespace stillframe
