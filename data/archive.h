// Unpacking of archives that came over the network.
#pragma once
#include <filesystem>

namespace tidepool {

/// Unpacks a tar file, compressed or not, into `folder`, which is made when missing. Files and folders alone: a link, a
/// device, an absolute path or one with ".." is a Failure, and then nothing of the archive appears in `folder`.
/// Everything is unpacked beside its place first and moved there at the end; a file that was there before is replaced.
void extract_archive(const std::filesystem::path& archive, const std::filesystem::path& folder);

}  // namespace tidepool
