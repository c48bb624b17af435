#include "heap/payload_scan.h"

#include <algorithm>
#include <vector>

namespace stillframe {
namespace {

constexpr char kUnknown[] = "is written by V8 in a form that readValues() does not know";

// Reads forwards. Beyond the end it returns zeros, and ok() is false from then on.
class Cursor {
 public:
  Cursor(const uint8_t* bytes, size_t length) : at_(bytes), end_(bytes + length) {}

  bool ok() const { return ok_; }
  bool at_end() const { return at_ == end_; }

  uint8_t Byte() {
    if (at_ == end_) ok_ = false;
    return ok_ ? *at_++ : 0;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = Byte();
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  void Skip(uint64_t length) {
    if (length > static_cast<uint64_t>(end_ - at_)) ok_ = false;
    if (ok_) at_ += length;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  bool ok_ = true;
};

// A container that has not been closed yet.
struct Open {
  uint8_t kind;  // its tag
  uint32_t id;
  bool cause_is_due = false;  // in an error: a value comes next, not a tag of the error itself
};

class Scan {
 public:
  Scan(const uint8_t* bytes, size_t length, bool cyclic_errors)
      : cursor_(bytes, length), cyclic_errors_(cyclic_errors) {}

  PayloadShape Run() {
    if (cursor_.Byte() != 0xff || cursor_.Varint() != 15) return Problem(kUnknown);
    do {
      if (open_.empty() || open_.back().kind != 'r' || open_.back().cause_is_due) {
        if (!open_.empty()) open_.back().cause_is_due = false;
        Value();
      } else {
        PartOfError();
      }
      if (!cursor_.ok()) return Problem(kUnknown);
    } while (!open_.empty() && shape_.problem == nullptr);
    return !cursor_.at_end() && shape_.problem == nullptr ? Problem(kUnknown) : shape_;
  }

 private:
  PayloadShape Problem(const char* what) {
    shape_.problem = what;
    return shape_;
  }

  uint8_t Tag() {
    uint8_t tag = 0;
    do tag = cursor_.Byte();
    while (tag == 0 && cursor_.ok());  // padding
    return tag;
  }

  void Value() {
    switch (const uint8_t tag = Tag()) {
      case '-':
      case '_':
      case '0':
      case 'T':
      case 'F':
        return;
      case 'I':
      case 'U':
        cursor_.Varint();
        return;
      case 'N':
        return cursor_.Skip(8);
      case 'Z':
        return BigIntDigits();
      case 'S':
      case '"':
      case 'c':
        return cursor_.Skip(cursor_.Varint());
      case '^':
        return Reference();
      case 'D':
      case 'n':
        next_id_++;
        return cursor_.Skip(8);
      case 'y':
      case 'x':
        next_id_++;
        return;
      case 'z':
        next_id_++;
        return BigIntDigits();
      case 's':
        next_id_++;
        return String();
      case 'R':
        next_id_++;
        String();
        cursor_.Varint();  // the flags
        return;
      case 'B':
      case '~':
        shape_.has_array_buffers = true;
        return ArrayBuffer(tag);
      case '\\':
        return View();
      case 'a':
      case 'A':
        cursor_.Varint();  // the length
        return Begin(tag);
      case 'o':
      case ';':
      case '\'':
      case 'r':
        return Begin(tag);
      case '{':
        return End('o', 1);
      case '@':
        return End('a', 2);
      case '$':
        return End('A', 2);
      case ':':
        return End(';', 1);
      case ',':
        return End('\'', 1);
      default:
        shape_.problem = kUnknown;
    }
  }

  void Begin(uint8_t tag) {
    open_.push_back({tag, next_id_++});
    shape_.depth = std::max(shape_.depth, static_cast<uint32_t>(open_.size()));
  }

  // Closes a container; `numbers` numbers follow the tag.
  void End(uint8_t tag, int numbers) {
    if (open_.empty() || open_.back().kind != tag) {
      shape_.problem = kUnknown;
      return;
    }
    while (numbers-- > 0) cursor_.Varint();
    open_.pop_back();
  }

  void String() {
    const uint8_t tag = Tag();
    if (tag != '"' && tag != 'c' && tag != 'S') shape_.problem = kUnknown;
    cursor_.Skip(cursor_.Varint());
  }

  void BigIntDigits() {
    // The lowest bit is the sign, the others are the number of bytes.
    cursor_.Skip(cursor_.Varint() >> 1);
  }

  void Reference() {
    const uint64_t id = cursor_.Varint();
    if (cyclic_errors_) return;
    for (const Open& container : open_) {
      if (container.kind == 'r' && container.id == id) {
        shape_.problem =
            "holds an error whose cause leads back to the error, which this version of Node cannot "
            "read back";
      }
    }
  }

  void ArrayBuffer(uint8_t tag) {
    next_id_++;
    const uint64_t length = cursor_.Varint();
    if (tag == '~') cursor_.Varint();  // the maximum length
    cursor_.Skip(length);
  }

  void View() {
    next_id_++;
    const uint64_t type = cursor_.Varint();
    if (type < kSharedView) return cursor_.Skip(cursor_.Varint());
    cursor_.Varint();  // offset
    cursor_.Varint();  // length
    const uint8_t tag = Tag();
    if (tag == 'B') return ArrayBuffer(tag);
    if (tag != '^') shape_.problem = kUnknown;
    cursor_.Varint();
  }

  void PartOfError() {
    switch (cursor_.Byte()) {
      case 'E':
      case 'R':
      case 'F':
      case 'S':
      case 'T':
      case 'U':  // the kinds of errors
        return;
      case 'm':
      case 's':
        return String();
      case 'c':
        open_.back().cause_is_due = true;
        return;
      case '.':
        open_.pop_back();
        return;
      default:
        shape_.problem = kUnknown;
    }
  }

  Cursor cursor_;
  const bool cyclic_errors_;
  PayloadShape shape_;
  std::vector<Open> open_;
  uint32_t next_id_ = 0;
};

}  // namespace

PayloadShape ScanPayload(const uint8_t* bytes, size_t length, bool cyclic_errors) {
  return Scan(bytes, length, cyclic_errors).Run();
}

}  // namespace stillframe
