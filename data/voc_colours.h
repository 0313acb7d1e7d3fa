// The colours of class indices in PASCAL VOC's label pictures.
#pragma once
#include <array>
#include <cstdint>

namespace tidepool {

/// RGB of every index, as the VOC development kit computes it (Everingham et al., VOCcolormap): bits 0, 1 and 2 of the
/// index are the highest bits of red, green and blue, bits 3 to 5 the next ones, and so on. 0 is black, 255, the
/// ignored label, nearly white.
inline constexpr std::array<std::array<uint8_t, 3>, 256> kVocColours = [] {
  std::array<std::array<uint8_t, 3>, 256> colours{};
  for (size_t index = 0; index < colours.size(); ++index)
    for (size_t bit = 0; bit < 8; ++bit)
      colours[index][bit % 3] = static_cast<uint8_t>(colours[index][bit % 3] | (index >> bit & 1) << (7 - bit / 3));
  return colours;
}();

}  // namespace tidepool
