// CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny images") in its official binary layout:
// train.bin and test.bin, records of 3,074 bytes: coarse label, fine label, 32x32 red, green, blue.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "data/source.h"

namespace tidepool {

inline constexpr SourceFormat kCifar100Format{.shape = {3, 32, 32}, .classes = 100};

/// The folder that holds train.bin and test.bin: `root` itself or `root`/cifar-100-binary; nothing when neither does.
std::optional<std::filesystem::path> find_cifar100(const std::filesystem::path& root);

/// "x/train.bin without test.bin beside it" where find_cifar100 finds one of the two alone; else "".
std::string incomplete_cifar100(const std::filesystem::path& root);

/// Maps a split into memory (no copy). Classes are the 100 fine labels. Errors: no such folder or file, a size that is
/// not whole records, a label above 99 among the images in use, more images than exist.
std::unique_ptr<Source> open_cifar100(const SourceOptions& options);

}  // namespace tidepool
