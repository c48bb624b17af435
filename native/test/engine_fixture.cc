#include "test/engine_fixture.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/sys.h"
#include "freeze/fork_engine.h"
#include "freeze/mprotect_engine.h"
#include "freeze/userfaultfd_engine.h"
#include "memory/page.h"

namespace stillframe::test {

const char* NameOf(Variant variant) {
  switch (variant) {
    case Variant::kFork:
      return "fork";
    case Variant::kMprotect:
      return "mprotect";
    case Variant::kUserfaultfdThread:
      return "userfaultfd_thread";
    case Variant::kUserfaultfdSignal:
      return "userfaultfd_signal";
  }
  return "";
}

std::unique_ptr<Engine> MakeEngine(Variant variant) {
  switch (variant) {
    case Variant::kFork:
      return std::make_unique<ForkEngine>();
    case Variant::kMprotect:
      return std::make_unique<MprotectEngine>();
    case Variant::kUserfaultfdThread:
      return std::make_unique<UserfaultfdEngine>(FaultVariant::kThread);
    case Variant::kUserfaultfdSignal:
      return std::make_unique<UserfaultfdEngine>(FaultVariant::kSignal);
  }
  return nullptr;
}

std::string Missing(Variant variant) {
  if (variant == Variant::kUserfaultfdThread)
    return Userfaultfd::Probe(FaultVariant::kThread).reason;
  if (variant == Variant::kUserfaultfdSignal)
    return Userfaultfd::Probe(FaultVariant::kSignal).reason;
  return "";
}

bool LongMode() {
  const char* value = getenv("STILLFRAME_TEST_LONG");
  return value != nullptr && strcmp(value, "1") == 0;
}

std::shared_ptr<RegionMemory> TouchedRegion(size_t byte_length, bool huge_pages) {
  Result<std::shared_ptr<RegionMemory>> region = RegionMemory::Allocate(byte_length, huge_pages);
  if (!region.ok()) {
    ADD_FAILURE() << region.failure().message;
    abort();
  }
  memset(region.value()->data(), 1, byte_length);
  return region.value();
}

namespace {

std::vector<FreezeSource> WholeRegions(const Regions& regions) {
  std::vector<FreezeSource> sources;
  for (const auto& region : regions) {
    sources.push_back({region->data(), region->byte_length(), true});
  }
  return sources;
}

}  // namespace

DirectCapture::DirectCapture(Variant variant, const Regions& regions, uint64_t memory_limit,
                             AtLimit at_limit)
    : DirectCapture(variant, WholeRegions(regions), memory_limit, at_limit) {}

DirectCapture::DirectCapture(Variant variant, std::vector<FreezeSource> sources,
                             uint64_t memory_limit, AtLimit at_limit, uint32_t savers)
    : savers_(savers), engine_(MakeEngine(variant)) {
  plan_.sources = std::move(sources);
  std::vector<ImageDescription::Section> sections;
  for (const FreezeSource& source : plan_.sources) {
    sections.push_back({"r" + std::to_string(sections.size()), source.byte_length});
  }
  layout_ = PlanLayout(sections);
  plan_.memory_limit = memory_limit;
  plan_.at_limit = at_limit;
}

Status DirectCapture::Prepare() {
  Result<ControlBlock> control = ControlBlock::Create(layout_.block_count, {.savers = savers_});
  if (!control.ok()) return control.failure();
  control_ = std::make_unique<ControlBlock>(std::move(control.value()));
  file_.Reset(memfd_create("capture", MFD_CLOEXEC));
  SavePlan& save = plan_.save;
  save.sections = layout_.sections.data();
  save.section_count = static_cast<uint32_t>(layout_.sections.size());
  save.chunk_count = layout_.chunk_count;
  save.control = control_->header();
  save.index = control_->index();
  save.sums = control_->sums();
  save.buffers = control_->buffers();
  save.saver_count = control_->saver_count();
  sink_ = FileSink(file_.get());
  save.sink = &sink_;
  return engine_->Prepare(plan_);
}

Status DirectCapture::Freeze() {
  if (Status frozen = engine_->Freeze(); !frozen.ok()) return frozen;
  return engine_->Attach();
}

Status DirectCapture::Finish() {
  pollfd end{engine_->wait_fd(), POLLIN, 0};
  int ready = 0;
  do {
    ready = poll(&end, 1, 30'000);
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) {
    ADD_FAILURE() << "the capture has not ended within 30 s";
    engine_->Stop();
  }
  if (const Result<CopyCost> cost = engine_->Cost(); cost.ok()) cost_ = cost.value();
  Status collected = engine_->Collect();
  engine_.reset();
  return collected;
}

void DirectCapture::ReadSaved(uint32_t section, uint64_t offset, void* out, size_t length) const {
  memset(out, 0, length);
  const auto at = static_cast<off_t>(layout_.sections[section].data_offset + offset);
  size_t done = 0;
  while (done < length) {
    const ssize_t got = pread(file_.get(), static_cast<char*>(out) + done, length - done,
                              at + static_cast<off_t>(done));
    if (got < 0) {
      ADD_FAILURE() << "cannot read what was saved: " << strerror(errno);
      return;
    }
    if (got == 0) return;  // zeros at the end of the file are not written
    done += static_cast<size_t>(got);
  }
}

Watchdog::Watchdog(std::chrono::seconds limit)
    : thread_([this, limit] {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (!finished_) {
          if (std::chrono::steady_clock::now() > end) {
            fprintf(stderr, "watchdog: the test has not come to its end\n");
            _exit(70);
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
      }) {}

Watchdog::~Watchdog() {
  finished_ = true;
  thread_.join();
}

}  // namespace stillframe::test
