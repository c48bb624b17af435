#include "addon/file_lock.h"

#include <sys/file.h>

#include <cerrno>
#include <string>

#include "addon/failure.h"
#include "base/sys.h"

namespace stillframe {
namespace {

Napi::Value Flock(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const std::string kind = info[1].As<Napi::String>();
  const int operation = (kind == "exclusive" ? LOCK_EX : LOCK_SH) | LOCK_NB;
  int error = 0;
  do {
    error = sys::Flock(fd, operation);
  } while (error == -EINTR);
  if (error == 0 || error == -EWOULDBLOCK) return Napi::Boolean::New(env, error == 0);
  Throw(env, SystemFailure("flock", -error,
                           "cannot lock the file, which the filesystem may not be able to do"));
  return env.Undefined();
}

}  // namespace

void DefineFileLock(Napi::Env env, Napi::Object exports) {
  exports.Set("flock", Napi::Function::New(env, Flock));
}

}  // namespace stillframe
