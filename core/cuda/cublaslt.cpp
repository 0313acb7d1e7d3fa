// cublasLt: the only file that includes its header. The library is loaded at run time. It counts columns first, so the
// product is computed transposed: y' [N, M] = b' [N, K] a' [K, M].
#include "core/cuda/cublaslt.h"

#include <cublasLt.h>

#include <mutex>
#include <optional>

#include "core/backend/libraries.h"
#include "core/backend/plan_cache.h"
#include "core/cuda/loaded_library.h"
#include "core/cuda/stream.h"
#include "core/error.h"

namespace tidepool::cublaslt {
namespace {

#define TP_FUNCTION(name) decltype(::name)* const name = library.find<decltype(::name)>(#name)

// The library has the toolkit's number.
std::string library_name() {
  return fmt::format("libcublasLt.so.{}", CUDART_VERSION / 1000);
}

struct Api {
  const cuda::LoadedLibrary library{library_name().c_str()};
  TP_FUNCTION(cublasLtGetVersion);
  TP_FUNCTION(cublasLtGetStatusString);
  TP_FUNCTION(cublasLtCreate);
  TP_FUNCTION(cublasLtMatmulDescCreate);
  TP_FUNCTION(cublasLtMatmulDescDestroy);
  TP_FUNCTION(cublasLtMatmulDescSetAttribute);
  TP_FUNCTION(cublasLtMatrixLayoutCreate);
  TP_FUNCTION(cublasLtMatrixLayoutDestroy);
  TP_FUNCTION(cublasLtMatmulPreferenceCreate);
  TP_FUNCTION(cublasLtMatmulPreferenceDestroy);
  TP_FUNCTION(cublasLtMatmulPreferenceSetAttribute);
  TP_FUNCTION(cublasLtMatmulAlgoGetHeuristic);
  TP_FUNCTION(cublasLtMatmul);

  bool complete() const {
    return cublasLtGetVersion && cublasLtGetStatusString && cublasLtCreate && cublasLtMatmulDescCreate &&
           cublasLtMatmulDescDestroy && cublasLtMatmulDescSetAttribute && cublasLtMatrixLayoutCreate &&
           cublasLtMatrixLayoutDestroy && cublasLtMatmulPreferenceCreate && cublasLtMatmulPreferenceDestroy &&
           cublasLtMatmulPreferenceSetAttribute && cublasLtMatmulAlgoGetHeuristic && cublasLtMatmul;
  }
};
const Api& api() {
  static const Api* a = new Api;  // never destroyed: plans of other statics call it
  return *a;
}

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) throw Failure("cublasLt: {}: {}", call, api().cublasLtGetStatusString(status));
}

// Held by a mutex with all else: a handle may serve many threads, but a description's bias is set at each call.
std::mutex& mutex() {
  static std::mutex m;
  return m;
}
cublasLtHandle_t handle() {
  static const cublasLtHandle_t made = [] {
    if (const std::string why = problem(); !why.empty()) throw Error("matrix products on cuda: {}", why);
    cublasLtHandle_t h = nullptr;
    check(api().cublasLtCreate(&h), "cublasLtCreate");
    return h;
  }();
  return made;
}

// -- a product as descriptions ---------------------------------------------------------------------------------------

/// How a matrix lies in memory: its rows or its columns one after the other, `ld` elements apart.
struct Layout {
  bool by_rows;
  int64_t ld;
};
std::optional<Layout> layout_of(const Tensor& t) {
  const int64_t rows = t.size(0), columns = t.size(1), down = t.strides()[0], along = t.strides()[1];
  if ((columns == 1 || along == 1) && (rows == 1 || down >= columns)) return Layout{true, rows == 1 ? columns : down};
  if ((rows == 1 || down == 1) && (columns == 1 || along >= rows)) return Layout{false, columns == 1 ? rows : along};
  return std::nullopt;
}

/// A power of two, at most 256.
uint32_t alignment_of(const Tensor& t) {
  uint32_t bytes = 256;
  while (reinterpret_cast<uintptr_t>(t.raw()) % bytes != 0) bytes /= 2;
  return bytes;
}
// Libraries' kernels read 16 bytes at a time; a view may begin anywhere.
Tensor aligned(const Tensor& t) {
  return t && alignment_of(t) < 16 ? t.clone() : t;
}
Tensor laid_out(const Tensor& t) {
  return aligned(layout_of(t) ? t : t.contiguous(MemoryFormat::plain));
}

cudaDataType_t type_of(DType t) {
  return t == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

template <class T>
using Owned = std::unique_ptr<T, cublasStatus_t (*)(T*)>;

Owned<cublasLtMatrixLayoutOpaque_t> describe(DType type, int64_t rows, int64_t columns, int64_t ld) {
  cublasLtMatrixLayout_t raw = nullptr;
  check(api().cublasLtMatrixLayoutCreate(&raw, type_of(type), static_cast<uint64_t>(rows),
                                         static_cast<uint64_t>(columns), ld),
        "cublasLtMatrixLayoutCreate");
  return {raw, api().cublasLtMatrixLayoutDestroy};
}
/// A factor as it lies in memory, columns first.
Owned<cublasLtMatrixLayoutOpaque_t> describe(const Tensor& t, const Layout& l) {
  return l.by_rows ? describe(t.dtype(), t.size(1), t.size(0), l.ld) : describe(t.dtype(), t.size(0), t.size(1), l.ld);
}

struct MatmulPlan {
  Owned<cublasLtMatmulDescOpaque_t> product{nullptr, api().cublasLtMatmulDescDestroy};
  Owned<cublasLtMatrixLayoutOpaque_t> left{nullptr, api().cublasLtMatrixLayoutDestroy},
      right{nullptr, api().cublasLtMatrixLayoutDestroy}, result{nullptr, api().cublasLtMatrixLayoutDestroy};
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace_bytes = 0;
  bool found = false;

  template <class T>
  void set(cublasLtMatmulDescAttributes_t name, const T& value) const {
    check(api().cublasLtMatmulDescSetAttribute(product.get(), name, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  }
};

PlanCache<MatmulPlan>& plans() {
  static auto* p = new PlanCache<MatmulPlan>;  // never destroyed: the library's own statics may go first
  return *p;
}

// The library's own advice for GPUs of 2022 and later; older ones are served too.
constexpr size_t kMostWorkspace = size_t{32} << 20;

std::shared_ptr<MatmulPlan> make_plan(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y) {
  auto plan = std::make_shared<MatmulPlan>();
  const Layout la = layout_of(a).value(), lb = layout_of(b).value();
  cublasLtMatmulDesc_t product = nullptr;
  const bool tf32 = a.dtype() == DType::f32 && library_settings().tf32;
  check(api().cublasLtMatmulDescCreate(&product, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate");
  plan->product.reset(product);
  plan->set(CUBLASLT_MATMUL_DESC_TRANSA, lb.by_rows ? CUBLAS_OP_N : CUBLAS_OP_T);
  plan->set(CUBLASLT_MATMUL_DESC_TRANSB, la.by_rows ? CUBLAS_OP_N : CUBLAS_OP_T);
  if (bias) {
    plan->set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    plan->set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(bias.dtype()));
    plan->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.raw());
  }
  plan->left = describe(b, lb);
  plan->right = describe(a, la);
  plan->result = describe(y.dtype(), y.size(1), y.size(0), layout_of(y).value().ld);

  cublasLtMatmulPreference_t raw = nullptr;
  check(api().cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  const Owned<cublasLtMatmulPreferenceOpaque_t> preference(raw, api().cublasLtMatmulPreferenceDestroy);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
    check(api().cublasLtMatmulPreferenceSetAttribute(raw, name, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(b));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(a));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(y));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(y));

  cublasLtMatmulHeuristicResult_t proposal{};
  int count = 0;
  const cublasStatus_t status =
      api().cublasLtMatmulAlgoGetHeuristic(handle(), product, plan->left.get(), plan->right.get(), plan->result.get(),
                                           plan->result.get(), raw, 1, &proposal, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return plan;
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  plan->found = count > 0 && proposal.state == CUBLAS_STATUS_SUCCESS;
  plan->algorithm = proposal.algo;
  plan->workspace_bytes = proposal.workspaceSize;
  return plan;
}

PlanKey key_of(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y) {
  PlanKey k;
  k.add(library_settings().tf32);
  for (const Tensor& t : {a, b, y}) {
    const Layout l = layout_of(t).value();
    k.add_enum(t.dtype()), k.add(alignment_of(t)), k.add(t.size(0)), k.add(t.size(1)), k.add(l.by_rows), k.add(l.ld);
  }
  k.add(static_cast<bool>(bias));
  return k;
}

std::string text_of(const Tensor& t) {
  return fmt::format("{} {}{}", t.shape().str(), name_of(t.dtype()), layout_of(t)->by_rows ? "" : " transposed");
}

}  // namespace

std::string problem() {
  if (!api().library) return fmt::format("cublasLt ({}) is not installed on this machine", library_name());
  if (!api().complete()) return fmt::format("{} lacks functions of cublasLt's interface", library_name());
  return "";
}

std::string version() {
  if (!api().complete()) return "";
  const size_t v = api().cublasLtGetVersion();
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

bool matmul(const Tensor& a_, const Tensor& b_, const Tensor& bias_, const Tensor& y) {
  const auto served = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  if (!served(a_.dtype()) || !served(y.dtype()) || a_.size(1) == 0) return false;
  if (alignment_of(y) < 16 || !layout_of(y) || !layout_of(y)->by_rows) return false;
  const Tensor a = laid_out(a_), b = laid_out(b_), bias = bias_ ? aligned(bias_.to(y.dtype())) : bias_;
  const std::lock_guard lock(mutex());
  try {
    const auto plan = plans().get(key_of(a, b, bias, y), [&] { return make_plan(a, b, bias, y); });
    if (!plan->found) return false;
    if (bias) plan->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.raw());
    const Tensor workspace =
        Tensor::empty({static_cast<int64_t>(plan->workspace_bytes)}, {.dtype = DType::u8, .device = y.device()});
    const float one = 1, none = 0;
    void* const to = y.mutable_raw();
    check(
        api().cublasLtMatmul(handle(), plan->product.get(), &one, b.raw(), plan->left.get(), a.raw(), plan->right.get(),
                             &none, to, plan->result.get(), to, plan->result.get(), &plan->algorithm,
                             workspace.mutable_raw(), plan->workspace_bytes, cuda::compute_stream()),
        "cublasLtMatmul");
  } catch (const Failure& e) {
    throw Failure("matmul of {} by {} to {}: {}", text_of(a), text_of(b), text_of(y), e.what());
  }
  return true;
}

void forget_plans() {
  plans().clear();
}

void add_to(CacheStats& stats) {
  stats.primitives += plans().size();
  stats.primitives_made += plans().made();
}

}  // namespace tidepool::cublaslt
