// Fetches ranges of files in a store through JavaScript, for native threads that wait for them.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <memory>
#include <mutex>

#include "addon/environment.h"
#include "image/range_source.h"

namespace stillframe {

class RangeRequests final : public RangeReader {
 public:
  // `on_read` is called with (file, offset, length, answer) and calls answer(bytes), or
  // answer(undefined, message, isDamage). It must outlive all reads.
  RangeRequests(Environment* environment, const Napi::FunctionReference* on_read);

  Status Read(uint32_t file, std::byte* out, uint64_t length, uint64_t offset) override;
  // Ends all current waits; later reads fail at once. Any thread.
  void Stop();

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable answered;
    bool stopped = false;
  };
  class Request;

  Environment* const environment_;
  const Napi::FunctionReference* const on_read_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace stillframe
