// State dicts as torch.save writes them: a zip archive of stored files, of which data.pkl is a pickle of tensors by
// name and data/0, data/1, ... hold their elements (PyTorch, torch/serialization.py; Python, Lib/pickletools.py).
#pragma once
#include <filesystem>

#include "core/safetensors.h"

namespace tidepool {

/// Whether the file begins as a zip archive. Throws Error when it cannot be read.
bool is_torch_file(const std::filesystem::path& path);

/// Reads every tensor (of the types that read_safetensors takes, any strides) into plain memory of the CPU. The pickle
/// may make tensors, and dicts of them, alone: anything else that a pickle can ask for is an Error that names it, and
/// nothing is run. Other Errors as read_safetensors'. There is no metadata.
SafetensorsFile read_torch_file(const std::filesystem::path& path);

/// Writes atomically what torch.load(path, weights_only=True) reads: an OrderedDict of the tensors, with the metadata
/// as its attribute `metadata`. Throws Error for a file of 4 GiB and more, and as write_safetensors.
void write_torch_file(const std::filesystem::path& path, const SafetensorsFile& file);

}  // namespace tidepool
