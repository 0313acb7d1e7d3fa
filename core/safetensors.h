// safetensors: named tensors in one file, as the Python package of that name reads and writes them
// (huggingface/safetensors, "Format"): 8 bytes of header length, a JSON header, the bytes of all tensors without gaps.
#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "core/tensor.h"

namespace tidepool {

struct SafetensorsFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;  ///< `__metadata__`
};

/// Reads every tensor (F32, F64, BF16, I64, U8, and F16 as f32; rank 0 to 5) into plain memory of the CPU. A file that
/// is not what it should be is an Error that names the file, the tensor, what was expected and what came: nothing
/// outside the file's bytes is ever read, and nothing is allocated that the file does not hold. Failure when the disk
/// fails.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

/// Writes atomically (see AtomicFile, whose errors it has). Tensors of any strides and device; each lies aligned to its
/// element. Error when a name is not UTF-8 or is "__metadata__", or when a tensor is undefined.
void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

}  // namespace tidepool
