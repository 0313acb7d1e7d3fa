// Which Philox streams the data room draws from, so that no two uses under one seed share a number.
#pragma once
#include <cstdint>

namespace tidepool {

/// The high half of a stream's number: four letters each.
enum class Purpose : uint32_t {
  kAugmentation = 0x6175676D,      // augm
  kOrder = 0x6F726465,             // orde
  kProceduralLabels = 0x706C6162,  // plab
  kProceduralImage = 0x70696D67,   // pimg
  kRandomImage = 0x72696D67,       // rimg
  kShapesImage = 0x73696D67,       // simg
  kValidation = 0x76616C69,        // vali
};

/// The stream of a purpose in an epoch (or of an image): `low` < 2^32.
constexpr uint64_t name_seed(Purpose purpose, uint64_t low) {
  return uint64_t{static_cast<uint32_t>(purpose)} << 32 | low;
}

}  // namespace tidepool
