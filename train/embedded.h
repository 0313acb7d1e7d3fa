// Files compiled into the program.
#pragma once
#include <cstddef>

namespace tidepool {

/// As a generated source (cmake/embed.cmake) defines it, with arrays of them.
struct EmbeddedFile {
  const char* name;
  const unsigned char* bytes;
  size_t size;
};

}  // namespace tidepool
