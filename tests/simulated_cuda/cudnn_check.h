// What cuDNN's backend interface refuses of a convolution's descriptors. tests/cuda/cudnn_library_test.cpp compares
// each verdict with the real library's.
#pragma once
#include <cudnn.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace simulated {

struct Convolution;

struct Descriptor {
  cudnnBackendDescriptorType_t type;
  bool finalized = false;
  /// Elements of 8 bytes at most, as integers of their bits; a float is its value, rounded.
  std::map<int, std::vector<int64_t>> attributes = {};
  /// Of a plan that is finalized.
  std::shared_ptr<const Convolution> work = {};

  const std::vector<int64_t>& list(int name) const;
  int64_t number(int name, int64_t missing = 0) const;
  /// nullptr where it was not set.
  const Descriptor* part(int name) const;
};

cudnnStatus_t check_type(cudnnBackendDescriptorType_t type);
cudnnStatus_t check_set(const Descriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        int64_t count, const void* elements);
cudnnStatus_t check_finalize(const Descriptor& d);

int64_t bytes_of(cudnnDataType_t type);

/// The attributes of the three operations, which are named alike and numbered apart.
struct OperationNames {
  int x, w, y, conv, alpha, beta;
};
/// Where it is an operation at all.
const OperationNames* names_of(cudnnBackendDescriptorType_t type);

}  // namespace simulated
