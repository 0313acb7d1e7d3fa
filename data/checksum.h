// Checksums of files.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace tidepool {

enum class Digest { kMd5, kSha256 };

/// Lower-case hexadecimal. Failure when the file cannot be read.
std::string file_digest(const std::filesystem::path& path, Digest digest);

}  // namespace tidepool
