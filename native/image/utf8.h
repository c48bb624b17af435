// Checks that a text is well-formed UTF-8 without NUL.
#pragma once

#include <cstdint>
#include <string>

namespace stillframe {

inline bool IsUtf8WithoutNul(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead == 0) return false;
    size_t more = 0;
    uint32_t point = lead;
    if (lead >= 0xf0 && lead <= 0xf4) {
      more = 3;
      point = lead & 0x07U;
    } else if (lead >= 0xe0 && lead < 0xf0) {
      more = 2;
      point = lead & 0x0fU;
    } else if (lead >= 0xc2 && lead < 0xe0) {
      more = 1;
      point = lead & 0x1fU;
    } else if (lead >= 0x80) {
      return false;
    }
    if (text.size() - i <= more) return false;
    for (size_t j = 1; j <= more; j++) {
      const auto byte = static_cast<uint8_t>(text[i + j]);
      if ((byte & 0xc0U) != 0x80U) return false;
      point = (point << 6) | (byte & 0x3fU);
    }
    const bool overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point < 0xe000;
    if (overlong || surrogate || point > 0x10ffff) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace stillframe
