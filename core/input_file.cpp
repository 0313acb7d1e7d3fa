#include "core/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace tidepool {

InputFile::InputFile(const std::filesystem::path& path, const char* what) : path_(path.string()) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int code = errno;
    if (code == ENOENT || code == ENOTDIR) throw Error("{}: no such file", path_);
    throw Error("{}: cannot be read: {}", path_, std::strerror(code));
  }
  struct stat status = {};
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    throw Error("{}: is {}, not a {}", path_, S_ISDIR(status.st_mode) ? "a folder" : "no regular file", what);
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  close(descriptor_);
}

void InputFile::read(uint64_t offset, void* to, uint64_t bytes) const {
  char* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = pread(descriptor_, at, std::min<uint64_t>(bytes, 1u << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Failure("{}: cannot be read: {}", path_, std::strerror(errno));
    if (got == 0) throw Failure("{}: became shorter while it was read", path_);
    at += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
}

float float_from_half(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31, exponent = bits >> 10 & 31u, fraction = bits & 1023u;
  if (exponent == 0) {  // zero and subnormals
    const float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

}  // namespace tidepool
