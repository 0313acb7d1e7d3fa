// Which tables each device has, in the order in which they are asked, and the one error of a case that none does.
#include "core/cpu/tables.h"
#include "core/cuda/tables.h"
#include "core/reference/tables.h"

namespace tidepool::backend {
namespace {

template <class Table>
using List = std::span<const Table* const>;

template <class Table>
List<Table> choose(Device device, List<Table> on_cpu, List<Table> on_cuda) {
  return device.kind == DeviceKind::cpu ? on_cpu : on_cuda;
}

}  // namespace

template <>
List<ConvTable> tables<ConvTable>(Device device) {
  static constexpr const ConvTable* kCpuList[] = {&cpu::kWinogradConv, &cpu::kDepthwiseConv, &cpu::kOnednnConv,
                                                  &cpu::kDirectF64Conv, &reference::kConv};
  return choose<ConvTable>(device, kCpuList, cuda::tables().conv);
}
template <>
List<ConvWeightsTable> tables<ConvWeightsTable>(Device device) {
  return choose<ConvWeightsTable>(device, {}, cuda::tables().conv_weights);
}
template <>
List<FusedConvTable> tables<FusedConvTable>(Device device) {
  static constexpr const FusedConvTable* kCpuList[] = {&cpu::kFusedWinograd, &cpu::kFusedDepthwise};
  return choose<FusedConvTable>(device, kCpuList, {});
}
template <>
List<MatmulTable> tables<MatmulTable>(Device device) {
  static constexpr const MatmulTable* kCpuList[] = {&cpu::kOnednnMatmul, &reference::kMatmul};
  return choose<MatmulTable>(device, kCpuList, cuda::tables().matmul);
}
template <>
List<NormTable> tables<NormTable>(Device device) {
  static constexpr const NormTable* kCpuList[] = {&cpu::kNorm, &reference::kNorm};
  return choose<NormTable>(device, kCpuList, cuda::tables().norm);
}
template <>
List<ActivationTable> tables<ActivationTable>(Device device) {
  static constexpr const ActivationTable* kCpuList[] = {&cpu::kActivation, &reference::kActivation};
  return choose<ActivationTable>(device, kCpuList, cuda::tables().activation);
}
template <>
List<ElementwiseTable> tables<ElementwiseTable>(Device device) {
  static constexpr const ElementwiseTable* kCpuList[] = {&cpu::kElementwise, &reference::kElementwise};
  return choose<ElementwiseTable>(device, kCpuList, cuda::tables().elementwise);
}
template <>
List<ReductionTable> tables<ReductionTable>(Device device) {
  static constexpr const ReductionTable* kCpuList[] = {&cpu::kReduction, &reference::kReduction};
  return choose<ReductionTable>(device, kCpuList, cuda::tables().reduction);
}
template <>
List<ResizeTable> tables<ResizeTable>(Device device) {
  static constexpr const ResizeTable* kCpuList[] = {&cpu::kResize, &reference::kResize};
  return choose<ResizeTable>(device, kCpuList, cuda::tables().resize);
}
template <>
List<LossTable> tables<LossTable>(Device device) {
  static constexpr const LossTable* kCpuList[] = {&cpu::kLoss, &reference::kLoss};
  return choose<LossTable>(device, kCpuList, cuda::tables().loss);
}
template <>
List<UpdateTable> tables<UpdateTable>(Device device) {
  static constexpr const UpdateTable* kCpuList[] = {&cpu::kUpdate, &reference::kUpdate};
  return choose<UpdateTable>(device, kCpuList, cuda::tables().update);
}
template <>
List<CopyTable> tables<CopyTable>(Device device) {
  static constexpr const CopyTable* kCpuList[] = {&cpu::kCopy, &reference::kCopy};
  return choose<CopyTable>(device, kCpuList, cuda::tables().copy);
}

void throw_unsupported(const char* what, Device device) {
  throw Failure("{} on {} is not supported yet", what, name_of(device));
}
void throw_mixed_devices(const char* what, Device a, Device b) {
  throw Error("[{}] expected tensors of one device, got {} and {}", what, name_of(a), name_of(b));
}

}  // namespace tidepool::backend
