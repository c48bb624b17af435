#include "heap/in_copy.h"

#include <signal.h>
#include <v8-profiler.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/sys.h"
#include "heap/redactor.h"

namespace v8 {
// From v8-wasm-trap-handler-posix.h, which Node exports but does not ship. Weak: without it, a
// WebAssembly program that accesses memory out of bounds ends the copy instead of throwing.
__attribute__((weak)) bool TryHandleWebAssemblyTrapPosix(int signal, siginfo_t* info,
                                                         void* context);
}  // namespace v8

namespace stillframe {
namespace {

// V8 walks the heap in steps, and reports its progress here.
class WalkProgress final : public v8::ActivityControl {
 public:
  explicit WalkProgress(const HeapControl& control) : control_(control) {}
  ControlOption ReportProgressValue(uint32_t done, uint32_t total) override {
    control_.counters()->steps_done.store(done, std::memory_order_relaxed);
    control_.counters()->steps_total.store(total, std::memory_order_relaxed);
    control_.header()->heartbeat.fetch_add(1, std::memory_order_relaxed);
    return kContinue;
  }

 private:
  const HeapControl& control_;
};

class WriteToOutput final : public v8::OutputStream {
 public:
  WriteToOutput(Output* output, IdMover mover, bool redact)
      : output_(output), mover_(std::move(mover)), redact_(redact) {}
  int GetChunkSize() override { return 64 << 10; }
  void EndOfStream() override {}
  WriteResult WriteAsciiChunk(char* data, int size) override {
    std::string_view piece = mover_.Pass({data, static_cast<size_t>(size)});
    if (redact_) piece = redactor_.Pass(piece);
    output_->control().counters()->highest_id.store(mover_.highest(), std::memory_order_relaxed);
    return output_->Append(piece.data(), piece.size()) ? kContinue : kAbort;
  }

 private:
  Output* output_;
  IdMover mover_;
  const bool redact_;
  Redactor redactor_;
};

// For the copy's handlers. Node's own handlers would write reports and messages of the host.
HeapCounters* counters_of_child = nullptr;

void EndAtHeapLimit(const char* /*location*/, const v8::OOMDetails& /*details*/) {
  counters_of_child->out_of_heap.store(1, std::memory_order_relaxed);
  sys::ExitGroup(kChildFailed);
}

const std::vector<AddressRange>* left_out_of_child = nullptr;

bool IsLeftOut(uintptr_t address) {
  return std::any_of(
      left_out_of_child->begin(), left_out_of_child->end(),
      [&](const AddressRange& range) { return range.start <= address && address < range.end; });
}

// Distinguishes three kinds of faults: a fault of WebAssembly, which V8 turns into an error; an
// access to memory that is left out of the copy; and a defect, which ends the copy.
void OnFault(int signal, siginfo_t* info, void* context) {
  if (v8::TryHandleWebAssemblyTrapPosix != nullptr &&
      v8::TryHandleWebAssemblyTrapPosix(signal, info, context)) {
    return;
  }
  if (info->si_code > 0 && IsLeftOut(reinterpret_cast<uintptr_t>(info->si_addr))) {
    counters_of_child->touched_left_out.store(1, std::memory_order_relaxed);
    sys::ExitGroup(kChildFailed);
  }
  sys::SetDisposition(signal, 0);  // SIG_DFL
  raise(signal);                   // delivered when this handler returns
}

void HandleFaults() {
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, nullptr);
}

// The limit of the service protects the service. The copy has memoryLimit instead, and needs room
// for the data that it creates.
size_t RaiseHeapLimit(void* /*data*/, size_t current, size_t /*initial*/) { return current * 2; }

}  // namespace

void BeginInCopy(v8::Isolate* isolate, const HeapControl& control,
                 const std::vector<AddressRange>& left_out) {
  counters_of_child = control.counters();
  left_out_of_child = &left_out;
  isolate->SetOOMErrorHandler(EndAtHeapLimit);
  isolate->AddNearHeapLimitCallback(RaiseHeapLimit, nullptr);
  HandleFaults();
}

void WriteHeapSnapshot(v8::Isolate* isolate, Output* output, IdMover mover, bool redact) {
  WalkProgress progress(output->control());
  WriteToOutput stream(output, std::move(mover), redact);
  // The tracking of objects must leave nothing in the file.
  isolate->GetHeapProfiler()->StopTrackingHeapObjects();
  const v8::HeapSnapshot* snapshot = isolate->GetHeapProfiler()->TakeHeapSnapshot(&progress);
  if (snapshot == nullptr) sys::ExitGroup(kChildFailed);
  snapshot->Serialize(&stream);
}

}  // namespace stillframe
