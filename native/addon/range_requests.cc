#include "addon/range_requests.h"

#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "addon/builder.h"
#include "addon/reader.h"
#include "image/read_failure.h"

namespace stillframe {
namespace {

// Longer than any store keeps retrying. There has to be a limit, since a thread that waits for a
// page cannot give up.
constexpr std::chrono::seconds kLongestWait{300};

}  // namespace

// One range that a thread waits for. The thread may stop waiting before the answer arrives; a late
// answer has no effect.
class RangeRequests::Request {
 public:
  Request(std::shared_ptr<Shared> shared, std::byte* out, uint64_t length)
      : shared_(std::move(shared)), out_(out), length_(length) {}

  void OnAnswer(napi_env env, napi_callback_info info);
  void Answer(Status answer) {
    const std::lock_guard lock(shared_->mutex);
    if (!answer_) answer_ = std::move(answer);
    shared_->answered.notify_all();
  }
  Status Wait() {
    std::unique_lock lock(shared_->mutex);
    const bool in_time =
        shared_->answered.wait_for(lock, kLongestWait, [&] { return answer_ || shared_->stopped; });
    if (!answer_) {
      answer_ = in_time
                    ? ReadingAborted()
                    : Fail(FailureCode::kStalled, "the store has not answered for " +
                                                      std::to_string(kLongestWait.count()) + " s");
    }
    return *answer_;
  }

 private:
  const std::shared_ptr<Shared> shared_;
  std::byte* const out_;
  const uint64_t length_;
  std::optional<Status> answer_;
};

void RangeRequests::Request::OnAnswer(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3] = {};
  if (napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr) != napi_ok) return;
  Reader reader(env, arguments[0]);
  if (reader.TypeOf(arguments[0]) != napi_object) {
    const std::string message = reader.Text(arguments[1]);
    bool is_damage = false;
    reader.Check(napi_get_value_bool(env, arguments[2], &is_damage));
    Answer(is_damage ? Corrupt(0, "", message) : Fail(FailureCode::kIo, message));
    return;
  }
  size_t length = 0;
  void* bytes = nullptr;
  reader.Check(
      napi_get_typedarray_info(env, arguments[0], nullptr, &length, &bytes, nullptr, nullptr));
  if (!reader.ok() || length != length_) {
    Answer(Fail(FailureCode::kIo, std::to_string(length) + " bytes were received instead of " +
                                      std::to_string(length_)));
    return;
  }
  const std::lock_guard lock(shared_->mutex);
  // The waiting thread has left already, so its buffer is gone.
  if (answer_ || shared_->stopped) return;
  memcpy(out_, bytes, length);
  answer_ = Success{};
  shared_->answered.notify_all();
}

RangeRequests::RangeRequests(Environment* environment, const Napi::FunctionReference* on_read)
    : environment_(environment), on_read_(on_read), shared_(std::make_shared<Shared>()) {}

Status RangeRequests::Read(uint32_t file, std::byte* out, uint64_t length, uint64_t offset) {
  auto request = std::make_shared<Request>(shared_, out, length);
  environment_->Post([on_read = on_read_, request, file, length, offset](Napi::Env env) {
    const auto number = [env](uint64_t value) {
      napi_value made = nullptr;
      napi_create_double(env, static_cast<double>(value), &made);
      return made;
    };
    CallFunction(env, on_read->Value(),
                 {number(file), number(offset), number(length),
                  Closure<Request, &Request::OnAnswer>(env, request)});
    if (env.IsExceptionPending())
      request->Answer(Fail(FailureCode::kIo, TakeExceptionMessage(env)));
  });
  return request->Wait();
}

void RangeRequests::Stop() {
  const std::lock_guard lock(shared_->mutex);
  shared_->stopped = true;
  shared_->answered.notify_all();
}

}  // namespace stillframe
