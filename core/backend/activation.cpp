#include "core/backend/activation.h"

namespace tidepool {

const char* name_of(Act act) {
  switch (act) {
    case Act::none:
      return "none";
    case Act::relu:
      return "relu";
    case Act::relu6:
      return "relu6";
    case Act::silu:
      return "silu";
    case Act::hardswish:
      return "hardswish";
    case Act::sigmoid:
      return "sigmoid";
  }
  return "?";
}

}  // namespace tidepool
