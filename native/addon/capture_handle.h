// CaptureHandle of lib/addon/addon.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/environment.h"
#include "capture/capture.h"

namespace stillframe {

class CaptureHandle : public Napi::ObjectWrap<CaptureHandle>, public Job {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit CaptureHandle(const Napi::CallbackInfo& info);
  ~CaptureHandle() override;

  void CancelAndJoin() override;

 private:
  void ReadProgress(const Napi::CallbackInfo& info);
  void Abort(const Napi::CallbackInfo& info);
  Napi::Value Pid(const Napi::CallbackInfo& info);
  Napi::Value FrozenAt(const Napi::CallbackInfo& info);
  void Ended(Napi::Env env, Result<CaptureOutcome> outcome);

  Environment* environment_ = nullptr;
  std::unique_ptr<Capture> capture_;  // null once the end has been reported
  CaptureProgress last_progress_{};
  int pid_ = 0;
  int64_t frozen_at_ns_ = 0;
  Napi::FunctionReference on_end_;
};

}  // namespace stillframe
