#include "publish/temporary_name.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/sys.h"

namespace stillframe {
namespace {

constexpr char kPrefix[] = ".stillframe-";
constexpr char kSuffix[] = ".tmp";
constexpr size_t kRandomBytes = 16;

}  // namespace

Result<std::string> RandomTemporaryName() {
  unsigned char random[kRandomBytes] = {};
  // The kernel returns so few bytes at once, and no signal cuts them short.
  const int64_t got = sys::Getrandom(random, sizeof random);
  if (got != static_cast<int64_t>(sizeof random)) {
    return SystemFailure("getrandom", got < 0 ? static_cast<int>(-got) : EIO,
                         "cannot make a temporary name");
  }
  std::string name = kPrefix;
  for (const unsigned char byte : random) {
    char digits[3];
    snprintf(digits, sizeof digits, "%02x", byte);
    name += digits;
  }
  return name + kSuffix;
}

bool IsTemporaryName(const char* name) {
  const size_t prefix = strlen(kPrefix);
  const size_t length = prefix + 2 * kRandomBytes + strlen(kSuffix);
  if (strlen(name) != length || strncmp(name, kPrefix, prefix) != 0) return false;
  if (strspn(name + prefix, "0123456789abcdef") != 2 * kRandomBytes) return false;
  return strcmp(name + prefix + 2 * kRandomBytes, kSuffix) == 0;
}

}  // namespace stillframe
