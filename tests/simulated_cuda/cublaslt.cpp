// The part of cublasLt that the program calls, against the real header: products of f32 and bf16 with a bias in the
// epilogue, on the simulated device's memory, in the stream's order. What is described and does not fit is refused.
#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "tests/simulated_cuda/convolution.h"
#include "tests/simulated_cuda/library.h"

namespace simulated {
namespace {

struct Product {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t left = CUBLAS_OP_N, right = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t bias_type = -1;  // the result's
};
struct Layout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t ld;

  /// Elements from the first to behind the last, columns first.
  int64_t span() const { return (static_cast<int64_t>(columns) - 1) * ld + static_cast<int64_t>(rows); }
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignment[4] = {256, 256, 256, 256};
};
/// What a proposal holds; the library's own is 64 bytes.
struct Algorithm {
  uint64_t mark, left, right, result, workspace;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));
constexpr uint64_t kMark = 0x7469646570;

template <class T, class Opaque>
T& in(Opaque* opaque) {
  static_assert(sizeof(T) <= sizeof(Opaque));
  return *reinterpret_cast<T*>(opaque);
}
template <class T, class Opaque>
const T& in(const Opaque* opaque) {
  return *reinterpret_cast<const T*>(opaque);
}

size_t bytes_of(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : type == CUDA_R_16BF ? 2 : 0;
}
tidepool::DType type_of(cudaDataType type) {
  return type == CUDA_R_16BF ? tidepool::DType::bf16 : tidepool::DType::f32;
}
uint64_t shape_mark(const Layout& l) {
  return (l.rows * 1000003 + l.columns) * 1000003 + static_cast<uint64_t>(l.ld) * 31 + static_cast<uint64_t>(l.type);
}

template <class T>
cublasStatus_t take(T& to, const void* value, size_t bytes) {
  if (!value || bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

/// Shapes and types that fit each other.
cublasStatus_t check(const Product& p, const Layout& left, const Layout& right, const Layout& c, const Layout& d) {
  const auto rows = [](const Layout& l, cublasOperation_t op) { return op == CUBLAS_OP_N ? l.rows : l.columns; };
  const auto columns = [](const Layout& l, cublasOperation_t op) { return op == CUBLAS_OP_N ? l.columns : l.rows; };
  for (const Layout* l : {&left, &right, &c, &d})
    if (l->ld < static_cast<int64_t>(l->rows)) return CUBLAS_STATUS_INVALID_VALUE;
  if (rows(left, p.left) != d.rows || columns(right, p.right) != d.columns ||
      columns(left, p.left) != rows(right, p.right) || c.rows != d.rows || c.columns != d.columns)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (left.type != right.type || c.type != d.type || p.scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (left.type == CUDA_R_32F && d.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && left.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.epilogue == CUBLASLT_EPILOGUE_BIAS && p.bias_type >= 0 && p.bias_type != d.type)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}

void multiply(const Product& p, const Layout& l, const void* left, const Layout& r, const void* right, const Layout& d,
              void* result) {
  const auto rows = static_cast<int64_t>(d.rows), columns = static_cast<int64_t>(d.columns),
             inner = static_cast<int64_t>(p.left == CUBLAS_OP_N ? l.columns : l.rows);
  const bool tf32 = p.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const auto value = [&](const void* data, cudaDataType type, int64_t i) {
    const auto v = static_cast<float>(load(data, type_of(type), i));
    return tf32 ? rounded_to_tf32(v) : v;
  };
  std::vector<float> a(static_cast<size_t>(inner * rows));  // [inner][rows]
  for (int64_t k = 0; k < inner; ++k)
    for (int64_t i = 0; i < rows; ++i)
      a[static_cast<size_t>(k * rows + i)] = value(left, l.type, p.left == CUBLAS_OP_N ? k * l.ld + i : i * l.ld + k);
  std::vector<float> sums(static_cast<size_t>(rows));
  for (int64_t j = 0; j < columns; ++j) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t k = 0; k < inner; ++k) {
      const float factor = value(right, r.type, p.right == CUBLAS_OP_N ? j * r.ld + k : k * r.ld + j);
      const float* const row = a.data() + k * rows;
      for (int64_t i = 0; i < rows; ++i) sums[static_cast<size_t>(i)] += factor * row[i];
    }
    for (int64_t i = 0; i < rows; ++i) {
      double v = static_cast<double>(sums[static_cast<size_t>(i)]);
      if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) v += load(p.bias, type_of(d.type), i);
      store(result, type_of(d.type), j * d.ld + i, v);
    }
  }
}

}  // namespace
}  // namespace simulated

using namespace simulated;  // NOLINT: this file is the library

extern "C" {

size_t cublasLtGetVersion() {
  return CUBLAS_VERSION;
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
         : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                                 : "an error of the simulated cublasLt";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static int context;
  if (call_fails()) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = reinterpret_cast<cublasLtHandle_t>(&context);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (call_fails()) return CUBLAS_STATUS_ALLOC_FAILED;
  *product = new cublasLtMatmulDescOpaque_t{};
  in<Product>(*product) = {compute, scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  delete product;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t name,
                                              const void* value, size_t bytes) {
  Product& p = in<Product>(product);
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(p.left, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(p.right, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(p.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(p.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return take(p.bias_type, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  if (call_fails()) return CUBLAS_STATUS_ALLOC_FAILED;
  if (bytes_of(type) == 0 || rows == 0 || columns == 0) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new cublasLtMatrixLayoutOpaque_t{};
  in<Layout>(*layout) = {type, rows, columns, ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  if (call_fails()) return CUBLAS_STATUS_ALLOC_FAILED;
  *preference = new cublasLtMatmulPreferenceOpaque_t{};
  in<Preference>(*preference) = {};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void* value,
                                                    size_t bytes) {
  Preference& p = in<Preference>(preference);
  switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(p.workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return take(p.schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(p.alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(p.alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(p.alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(p.alignment[3], value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t left, cublasLtMatrixLayout_t right,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t proposals[], int* count) {
  if (call_fails()) return CUBLAS_STATUS_INTERNAL_ERROR;
  const Layout &l = in<Layout>(left), &r = in<Layout>(right), &result = in<Layout>(d);
  if (const auto status = check(in<Product>(product), l, r, in<Layout>(c), result); status != CUBLAS_STATUS_SUCCESS)
    return status;
  const Preference& p = in<Preference>(preference);
  if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  *proposals = {};
  proposals->state = CUBLAS_STATUS_SUCCESS;
  proposals->workspaceSize = std::min<size_t>(p.workspace, result.rows * result.columns * 4);
  in<Algorithm>(&proposals->algo) = {kMark, shape_mark(l), shape_mark(r), shape_mark(result), proposals->workspaceSize};
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t left, const void* b, cublasLtMatrixLayout_t right,
                              const void* beta, const void*, cublasLtMatrixLayout_t c, void* d,
                              cublasLtMatrixLayout_t result, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (call_fails()) return CUBLAS_STATUS_EXECUTION_FAILED;
  const Product& p = in<Product>(product);
  const Layout &l = in<Layout>(left), &r = in<Layout>(right), &to = in<Layout>(result);
  if (const auto status = check(p, l, r, in<Layout>(c), to); status != CUBLAS_STATUS_SUCCESS) return status;
  const Algorithm& chosen = in<Algorithm>(algorithm);
  if (chosen.mark != kMark || chosen.left != shape_mark(l) || chosen.right != shape_mark(r) ||
      chosen.result != shape_mark(to) || chosen.workspace > workspace_bytes)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (*static_cast<const float*>(alpha) != 1.0f || *static_cast<const float*>(beta) != 0.0f)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  try {
    expect_on_device(a, static_cast<size_t>(l.span()) * bytes_of(l.type));
    expect_on_device(b, static_cast<size_t>(r.span()) * bytes_of(r.type));
    expect_on_device(d, static_cast<size_t>(to.span()) * bytes_of(to.type));
    if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) expect_on_device(p.bias, to.rows * bytes_of(to.type));
    if (workspace_bytes > 0) expect_on_device(workspace, workspace_bytes);
    enqueue(stream, [p, l, a, r, b, to, d, workspace, workspace_bytes] {
      if (workspace_bytes > 0) std::memset(workspace, 0xff, workspace_bytes);
      multiply(p, l, a, r, b, to, d);
    });
  } catch (const std::logic_error&) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
