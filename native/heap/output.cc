#include "heap/output.h"

#include <algorithm>
#include <cstring>

#include "base/sys.h"
#include "publish/write_some.h"

namespace stillframe {

bool Output::Append(const void* bytes, size_t length) {
  control_.header()->heartbeat.fetch_add(1, std::memory_order_relaxed);
  const auto* from = static_cast<const std::byte*>(bytes);
  while (length > 0 && !failed_) {
    const size_t part = std::min(length, HeapControl::kOutputBytes - used_);
    memcpy(control_.output() + used_, from, part);
    used_ += part;
    from += part;
    length -= part;
    if (used_ == HeapControl::kOutputBytes) Flush();
  }
  return !failed_;
}

// The end is not a whole block: if direct mode refuses it, WriteSome leaves that mode.
bool Output::Finish() { return Flush(); }

void Output::ForgetWhatWasWritten() const {
  control_.header()->bytes_written.store(0, std::memory_order_relaxed);
  control_.header()->error_number.store(0, std::memory_order_relaxed);
  control_.counters()->self_end.store(SelfEnd::kNone, std::memory_order_relaxed);
}

int64_t Output::WriteSomeOf(const std::byte* bytes, size_t length, uint64_t offset) const {
  if (target_ == Target::kPipe) return sys::Write(fd_, bytes, length);
  return WriteSome(fd_, bytes, length, offset);
}

bool Output::Flush() {
  ControlHeader* control = control_.header();
  if (control->abort_requested.load(std::memory_order_relaxed) != 0) sys::ExitGroup(kChildAborted);
  if (Abandoned(hardening_)) sys::ExitGroup(kChildParentGone);
  const SaveStep before = control->step.exchange(SaveStep::kWriting, std::memory_order_relaxed);
  for (size_t done = 0; done < used_ && !failed_;) {
    const int64_t wrote = WriteSomeOf(control_.output() + done, used_ - done, offset_ + done);
    if (wrote < 0) {
      control->error_step.store(SaveStep::kWriting, std::memory_order_relaxed);
      control->error_offset.store(offset_ + done, std::memory_order_relaxed);
      control->error_number.store(static_cast<int>(-wrote), std::memory_order_release);
      failed_ = true;
      break;
    }
    done += static_cast<size_t>(wrote);
    control->bytes_written.fetch_add(static_cast<uint64_t>(wrote), std::memory_order_relaxed);
    control->heartbeat.fetch_add(1, std::memory_order_relaxed);
  }
  offset_ += used_;
  used_ = 0;
  control->step.store(before, std::memory_order_relaxed);
  return !failed_;
}

}  // namespace stillframe
