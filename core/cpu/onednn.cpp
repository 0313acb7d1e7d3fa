// oneDNN behind the tables of convolutions and matrix products: the only file that includes its headers. Versions 2.6
// and 3.x differ in how a primitive is described; DescribeConv and describe_matmul hold those differences. Maps stay in
// the tensor's own layout; weights go into the layout that oneDNN asks for, and the reordered copy is kept by (storage,
// version).
#include <omp.h>

#include <algorithm>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "core/backend/plan_cache.h"
#include "core/cpu/onednn.h"
#include "core/cpu/tables.h"
#include "core/cpu/weight_cache.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"

namespace tidepool {
namespace {

using Md = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;
using DnnlDims = dnnl::memory::dims;

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

dnnl::stream& stream() {
  thread_local dnnl::stream s(engine());
  return s;
}

Type type_of(DType t) {
  return t == DType::bf16 ? Type::bf16 : Type::f32;
}
bool handled(const Tensor& t) {
  return t.dtype() == DType::f32 || t.dtype() == DType::bf16;
}

size_t bytes_of(const Md& md) {
  return md.get_size();
}
#if DNNL_VERSION_MAJOR >= 3
bool is_none(const Md& md) {
  return md.get_ndims() == 0;
}
#else
bool is_none(const Md& md) {
  return md.data.ndims == 0;
}
#endif

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // from our allocator: a steady step takes nothing new
  return attr;
}

// -- plans -----------------------------------------------------------------------------------------------------------

enum class Kind { forward, backward_data, backward_weights, matmul };

// A primitive with the memory that it wants; without a primitive oneDNN refuses the case.
struct ConvPlan {
  dnnl::primitive primitive;
  Md src, weights, bias, dst, scratch;  // of a matmul: a, b, bias, y
  Md user_weights;                      // the tensor's own layout
  dnnl::reorder reorder;                // to `weights`, or from them when they are a gradient; none when they are equal
  Md reorder_scratch;
  bool reorders = false;
};

PlanCache<const ConvPlan>& plans() {
  static auto* p = new PlanCache<const ConvPlan>;  // never destroyed: oneDNN's own statics may go first
  return *p;
}

// make(plan) describes the primitive; where oneDNN refuses the case, the plan is kept without one.
template <class Make>
std::shared_ptr<const ConvPlan> find_plan(const PlanKey& key, const Make& make) {
  return plans().get(key, [&] {
    auto plan = std::make_shared<ConvPlan>();
    try {
      make(*plan);
    } catch (const dnnl::error& e) {
      if (e.status == dnnl_out_of_memory) throw Failure("oneDNN: {}", e.what());
      *plan = ConvPlan{};
    }
    return plan;
  });
}

Tensor scratch_memory(const Md& md) {
  return Tensor::empty({is_none(md) ? 0 : static_cast<int64_t>(bytes_of(md))}, {.dtype = DType::u8});
}
// oneDNN takes what it reads without const.
dnnl::memory input(const Md& md, const Tensor& t) {
  return dnnl::memory(md, engine(), const_cast<void*>(t.raw()));
}
dnnl::memory output(const Md& md, const Tensor& t) {
  return dnnl::memory(md, engine(), t.mutable_raw());
}

void run(const dnnl::primitive& primitive, const Md& scratch, std::unordered_map<int, dnnl::memory> args) {
  const Tensor room = scratch_memory(scratch);
  if (!is_none(scratch)) args.emplace(DNNL_ARG_SCRATCHPAD, output(scratch, room));
  try {
    primitive.execute(stream(), args);
    stream().wait();
  } catch (const dnnl::error& e) {
    throw Failure("oneDNN: {}", e.what());
  }
}

void run_reorder(const ConvPlan& plan, const Md& from, const Tensor& source, const Md& to, const Tensor& target) {
  run(plan.reorder, plan.reorder_scratch, {{DNNL_ARG_FROM, input(from, source)}, {DNNL_ARG_TO, output(to, target)}});
}

// -- reordered weights -----------------------------------------------------------------------------------------------

using Weights = WeightCache<Md>;
Weights& weights_cache() {
  static Weights* w = new Weights(Weights::From::first_use, size_t{256} << 20);
  return *w;
}

Tensor reordered(const Tensor& w, const ConvPlan& plan) {
  return weights_cache().get(w, plan.weights, [&](Tensor& to) {
    if (!to) to = scratch_memory(plan.weights);
    run_reorder(plan, plan.user_weights, w, plan.weights, to);
  });
}

// -- convolution -----------------------------------------------------------------------------------------------------

Tag map_tag(int rank, MemoryFormat f) {
  const bool last = f == MemoryFormat::channels_last;
  if (rank == 3) return last ? Tag::nwc : Tag::ncw;
  if (rank == 4) return last ? Tag::nhwc : Tag::nchw;
  return last ? Tag::ndhwc : Tag::ncdhw;
}
Tag weights_tag(int rank, bool grouped) {
  if (rank == 3) return grouped ? Tag::goiw : Tag::oiw;
  if (rank == 4) return grouped ? Tag::goihw : Tag::oihw;
  return grouped ? Tag::goidhw : Tag::oidhw;
}

struct ConvSpec {
  Dims x, w, y;
  ConvOptions o;
  DType dtype = DType::f32, weights_dtype = DType::f32;
  MemoryFormat format = MemoryFormat::plain;
  bool bias = false;

  // The number of threads belongs to it: oneDNN divides the work when a primitive is made.
  PlanKey key(Kind kind) const {
    PlanKey k;
    k.add_enum(kind);
    k.add(omp_get_max_threads());
    k.add(static_cast<int64_t>(dtype) * 64 + static_cast<int64_t>(weights_dtype) * 4 +
          static_cast<int64_t>(format) * 2 + bias);
    k.add(x.rank());
    for (int64_t n : x) k.add(n);
    for (int64_t n : w) k.add(n);
    for (int i = 0; i < x.rank() - 2; ++i) {
      const auto a = static_cast<size_t>(i);
      k.add(o.stride[a]), k.add(o.padding[a]), k.add(o.dilation[a]);
    }
    k.add(o.groups);
    return k;
  }
};

// The arguments of every description of a convolution, and the descriptions themselves.
struct DescribeConv {
  Md src, weights, bias, dst, user_weights;
  DnnlDims stride, dilation, padding;

  explicit DescribeConv(const ConvSpec& c, DType weights_dtype) {
    const DnnlDims s(c.x.begin(), c.x.end()), d(c.y.begin(), c.y.end());
    DnnlDims w(c.w.begin(), c.w.end());
    const bool grouped = c.o.groups > 1;
    if (grouped) {
      w[0] /= c.o.groups;
      w.insert(w.begin(), c.o.groups);
    }
    src = Md(s, type_of(c.dtype), map_tag(c.x.rank(), c.format));
    dst = Md(d, type_of(c.dtype), map_tag(c.x.rank(), c.format));
    weights = Md(w, type_of(weights_dtype), Tag::any);
    user_weights = Md(w, type_of(c.weights_dtype), weights_tag(c.x.rank(), grouped));
    if (c.bias) bias = Md({c.w[0]}, type_of(c.weights_dtype), Tag::a);
    for (int i = 0; i < c.x.rank() - 2; ++i) {
      const auto a = static_cast<size_t>(i);
      stride.push_back(c.o.stride[a]);
      dilation.push_back(c.o.dilation[a] - 1);
      padding.push_back(c.o.padding[a]);
    }
  }

  static constexpr auto kDirect = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  auto forward(const Md& b) const {
    return dnnl::convolution_forward::primitive_desc(engine(), dnnl::prop_kind::forward_training, kDirect, src, weights,
                                                     b, dst, stride, dilation, padding, padding, attributes());
  }
  auto backward_data() const {
    return dnnl::convolution_backward_data::primitive_desc(engine(), kDirect, src, weights, dst, stride, dilation,
                                                           padding, padding, forward(Md()), attributes());
  }
  auto backward_weights(const Md& dw) const {
    return dnnl::convolution_backward_weights::primitive_desc(engine(), kDirect, src, dw, bias, dst, stride, dilation,
                                                              padding, padding, forward(Md()), attributes());
  }
#else
  auto forward(const Md& b) const {
    const dnnl::convolution_forward::desc d(dnnl::prop_kind::forward_training, kDirect, src, weights, b, dst, stride,
                                            dilation, padding, padding);
    return dnnl::convolution_forward::primitive_desc(d, attributes(), engine());
  }
  auto backward_data() const {
    const dnnl::convolution_backward_data::desc d(kDirect, src, weights, dst, stride, dilation, padding, padding);
    return dnnl::convolution_backward_data::primitive_desc(d, attributes(), engine(), forward(Md()));
  }
  auto backward_weights(const Md& dw) const {
    const dnnl::convolution_backward_weights::desc d(kDirect, src, dw, bias, dst, stride, dilation, padding, padding);
    return dnnl::convolution_backward_weights::primitive_desc(d, attributes(), engine(), forward(Md()));
  }
#endif
};

void make_reorder(ConvPlan& p, const Md& from, const Md& to) {
  p.reorders = !(from == to);
  if (!p.reorders) return;
  const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, attributes());
  p.reorder = dnnl::reorder(pd);
  p.reorder_scratch = pd.scratchpad_desc();
}

std::shared_ptr<const ConvPlan> forward_plan(const ConvSpec& c) {
  return find_plan(c.key(Kind::forward), [&](ConvPlan& p) {
    const DescribeConv d(c, c.dtype);
    const auto pd = d.forward(d.bias);
    p.src = d.src, p.dst = d.dst, p.bias = d.bias, p.user_weights = d.user_weights;
    p.weights = pd.weights_desc();
    p.scratch = pd.scratchpad_desc();
    make_reorder(p, p.user_weights, p.weights);
    p.primitive = dnnl::convolution_forward(pd);
  });
}

std::shared_ptr<const ConvPlan> backward_data_plan(const ConvSpec& c) {
  return find_plan(c.key(Kind::backward_data), [&](ConvPlan& p) {
    const DescribeConv d(c, c.dtype);
    const auto pd = d.backward_data();
    p.src = d.src, p.dst = d.dst, p.user_weights = d.user_weights;
    p.weights = pd.weights_desc();
    p.scratch = pd.scratchpad_desc();
    make_reorder(p, p.user_weights, p.weights);
    p.primitive = dnnl::convolution_backward_data(pd);
  });
}

std::shared_ptr<const ConvPlan> backward_weights_plan(const ConvSpec& c) {
  return find_plan(c.key(Kind::backward_weights), [&](ConvPlan& p) {
    const DescribeConv d(c, c.dtype);
    Md dw = d.weights;
    if (c.dtype == DType::bf16 && c.weights_dtype == DType::f32)  // products of bf16, summed and kept in f32
      dw = DescribeConv(c, DType::f32).weights;
    const auto pd = d.backward_weights(dw);
    p.src = d.src, p.dst = d.dst, p.bias = d.bias, p.user_weights = d.user_weights;
    p.weights = pd.diff_weights_desc();
    p.scratch = pd.scratchpad_desc();
    make_reorder(p, p.weights, p.user_weights);
    p.primitive = dnnl::convolution_backward_weights(pd);
  });
}

// Of both maps: one that is contiguous in both formats does not tell that of the other.
MemoryFormat format_of(const Tensor& x, const Tensor& y) {
  return y.is_contiguous(x.format()) ? x.format() : y.format();
}
ConvSpec spec_of(const Tensor& x, const Tensor& w, const Tensor& y, const ConvOptions& o, bool bias) {
  return {x.shape(), w.shape(), y.shape(), o, x.dtype(), w.dtype(), format_of(x, y), bias};
}

// bf16 by way of f32, for processors and cases in which oneDNN's own bf16 is missing or wrong. Weights are rounded as
// they would be.
Tensor f32_weights(const Tensor& w) {
  return w.to(DType::bf16).to(DType::f32);
}

bool conv_forward_onednn(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  if (!handled(x) || !handled(w)) return false;
  const auto plan = forward_plan(spec_of(x, w, y, o, static_cast<bool>(bias)));
  if (!plan->primitive) {
    if (x.dtype() != DType::bf16) return false;
    const Tensor wide = Tensor::empty(y.shape(), {DType::f32, y.format(), kCpu});
    if (!conv_forward_onednn(x.to(DType::f32), f32_weights(w), bias ? bias.to(DType::f32) : bias, o, wide))
      return false;
    y.copy_from(wide);
    return true;
  }
  const Tensor weights = plan->reorders ? reordered(w, *plan) : w;
  std::unordered_map<int, dnnl::memory> args{{DNNL_ARG_SRC, input(plan->src, x)},
                                             {DNNL_ARG_WEIGHTS, input(plan->weights, weights)},
                                             {DNNL_ARG_DST, output(plan->dst, y)}};
  if (bias) args.emplace(DNNL_ARG_BIAS, input(plan->bias, bias));
  run(plan->primitive, plan->scratch, std::move(args));
  return true;
}

// oneDNN 2.6.3 gives wrong numbers for the input's gradient of a 1x1 convolution in bf16, channels-last, when a group
// has an odd number of output channels (found by comparison with the reference).
bool wrong_in_onednn(const Tensor& dx, const Tensor& w, const ConvOptions& o) {
  return dx.dtype() == DType::bf16 && w.numel() == w.size(0) * w.size(1) && w.size(0) / o.groups % 2 == 1;
}

bool conv_backward_data_onednn(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  if (!handled(dy) || !handled(w)) return false;
  const auto plan = backward_data_plan(spec_of(dx, w, dy, o, false));
  if (!plan->primitive || wrong_in_onednn(dx, w, o)) {
    if (dx.dtype() != DType::bf16) return false;
    const Tensor wide = Tensor::empty(dx.shape(), {DType::f32, dx.format(), kCpu});
    if (!conv_backward_data_onednn(dy.to(DType::f32), f32_weights(w), o, wide)) return false;
    dx.copy_from(wide);
    return true;
  }
  Tensor weights = w;
  if (plan->reorders) {  // not kept: a training step needs it once, and the optimizer changes the weights after it
    weights = scratch_memory(plan->weights);
    run_reorder(*plan, plan->user_weights, w, plan->weights, weights);
  }
  run(plan->primitive, plan->scratch,
      {{DNNL_ARG_DIFF_DST, input(plan->dst, dy)},
       {DNNL_ARG_WEIGHTS, input(plan->weights, weights)},
       {DNNL_ARG_DIFF_SRC, output(plan->src, dx)}});
  return true;
}

// dbias[c] (set) = the sum of dy over images and positions, in f64 over chunks whose order is fixed: the library's sums
// are f32, and lose digits where there are many positions.
void sum_channels(const Tensor& dy, const Tensor& dbias) {
  const int64_t images = dy.size(0), channels = dy.size(1),
                positions = dy.numel() / std::max<int64_t>(1, images * channels);
  const bool last = dy.format() == MemoryFormat::channels_last;
  const int64_t rows = last ? images * positions : images, grain = last ? std::max<int64_t>(64, 65536 / channels) : 1;
  const int64_t chunks = (rows + grain - 1) / grain;
  const Tensor parts = Tensor::empty({chunks, channels}, {.dtype = DType::f64});
  double* const all = parts.mutable_data<double>();
  dispatch_floating(dy.dtype(), "conv", [&]<class T>(T) {
    using A = Acc<T>;
    const T* const p = dy.data<T>();
    parallel_chunks(rows, grain, [&](int64_t begin, int64_t end) {
      double* const sums = all + begin / grain * channels;
      std::fill(sums, sums + channels, 0.0);
      if (last) {
        for (int64_t i = begin; i < end; ++i)
          for (int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(static_cast<A>(p[i * channels + c]));
        return;
      }
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t first = (begin * channels + c) * positions;
        using V = detail::WideOf<A>::type;
        LongSum<V> many;
        LongSum<A> rest;
        each_lane<A>(first, positions, [&]<class W>(int64_t i) {
          if constexpr (kLanes<W> == 1)
            rest.add(load<W>(p + i));
          else
            many.add(load<W>(p + i));
        });
        const V total = many.total();
        sums[c] = static_cast<double>(rest.total());
        for (int l = 0; l < kLanes<V>; ++l) sums[c] += static_cast<double>(total[l]);
      }
    });
  });
  dispatch_floating(dbias.dtype(), "conv", [&]<class T>(T) {
    T* const to = dbias.mutable_data<T>();
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < chunks; ++i) sum += all[i * channels + c];
      to[c] = static_cast<T>(static_cast<Acc<T>>(sum));
    }
  });
}

// oneDNN 2.6.3 on AVX2: for the weights' gradient of a 1x1 convolution it brings together the pixels that a stride
// leaves, whole vectors of channels at a time. With fewer channels these are written over what lies behind, the
// counters by which its threads wait for each other: wrong numbers, or threads that wait for ever (found by comparison
// with the reference).
bool overruns_in_onednn(const Tensor& x, const Tensor& dw, const ConvOptions& o) {
  constexpr int64_t kMostLanes = 16;
  bool strides = false;
  for (int i = 0; i < x.rank() - 2; ++i) strides = strides || o.stride[static_cast<size_t>(i)] > 1;
  return strides && dw.numel() == dw.size(0) * dw.size(1) && dw.size(1) < kMostLanes;
}

// oneDNN's AVX-512 weights' gradient of bf16 and channels-last does not write taps that meet padding alone where y's
// last axis has length 1: their gradient of 0 is what lay in memory.
bool leaves_taps_in_onednn(const Tensor& x, const Tensor& dw, const Tensor& dy, const ConvOptions& o) {
  const int last = x.rank() - 1;
  const int64_t padding = o.padding[static_cast<size_t>(last - 2)],
                reach = (dw.size(last) - 1) * o.dilation[static_cast<size_t>(last - 2)];
  return x.dtype() == DType::bf16 && dy.size(last) == 1 && (padding > 0 || reach - padding >= x.size(last));
}

bool conv_backward_weights_onednn(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                                  const Tensor& dbias) {
  if (!handled(x) || !handled(dw) || overruns_in_onednn(x, dw, o)) return false;
  const auto plan = backward_weights_plan(spec_of(x, dw, dy, o, /*bias=*/false));
  if (!plan->primitive || leaves_taps_in_onednn(x, dw, dy, o)) {
    if (x.dtype() != DType::bf16) return false;
    const Tensor wide = Tensor::empty(dw.shape());
    if (!conv_backward_weights_onednn(x.to(DType::f32), dy.to(DType::f32), o, wide, {})) return false;
    dw.copy_from(wide);
    if (dbias) sum_channels(dy, dbias);
    return true;
  }
  const Tensor room = plan->reorders ? scratch_memory(plan->weights) : dw;
  std::unordered_map<int, dnnl::memory> args{{DNNL_ARG_SRC, input(plan->src, x)},
                                             {DNNL_ARG_DIFF_DST, input(plan->dst, dy)},
                                             {DNNL_ARG_DIFF_WEIGHTS, output(plan->weights, room)}};
  run(plan->primitive, plan->scratch, std::move(args));
  if (plan->reorders) run_reorder(*plan, plan->weights, room, plan->user_weights, dw);
  if (dbias) sum_channels(dy, dbias);
  return true;
}

// -- matrix product --------------------------------------------------------------------------------------------------

Md matrix(const Tensor& t) {
  return Md({t.size(0), t.size(1)}, type_of(t.dtype()), DnnlDims{t.strides()[0], t.strides()[1]});
}

auto describe_matmul(const Md& a, const Md& b, const Md& bias, const Md& y) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine(), a, b, bias, y, attributes());
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, bias, y), attributes(), engine());
#endif
}

bool matmul_onednn(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y) {
  if (!handled(a) || !handled(b) || !handled(y)) return false;
  PlanKey k;
  k.add_enum(Kind::matmul);
  k.add(omp_get_max_threads());
  for (const Tensor& t : {a, b, y}) {
    k.add_enum(t.dtype());
    for (int i = 0; i < 2; ++i) k.add(t.size(i)), k.add(t.strides()[i]);
  }
  k.add(bias ? static_cast<int64_t>(bias.dtype()) : -1);
  const auto plan = find_plan(k, [&](ConvPlan& p) {
    p.src = matrix(a), p.weights = matrix(b), p.dst = matrix(y);
    if (bias) p.bias = Md({1, y.size(1)}, type_of(bias.dtype()), Tag::ab);
    const auto pd = describe_matmul(p.src, p.weights, p.bias, p.dst);
    p.scratch = pd.scratchpad_desc();
    p.primitive = dnnl::matmul(pd);
  });
  if (!plan->primitive) {
    if (a.dtype() != DType::bf16) return false;
    const Tensor wide = Tensor::empty(y.shape());
    const auto dense = [](const Tensor& t) { return t.contiguous(MemoryFormat::plain).to(DType::f32); };
    if (!matmul_onednn(dense(a), dense(b), bias ? bias.to(DType::f32) : bias, wide)) return false;
    y.copy_from(wide);
    return true;
  }
  std::unordered_map<int, dnnl::memory> args{{DNNL_ARG_SRC, input(plan->src, a)},
                                             {DNNL_ARG_WEIGHTS, input(plan->weights, b)},
                                             {DNNL_ARG_DST, output(plan->dst, y)}};
  if (bias) args.emplace(DNNL_ARG_BIAS, input(plan->bias, bias));
  run(plan->primitive, plan->scratch, std::move(args));
  return true;
}

const char* name_of(dnnl::cpu_isa isa) {
  switch (isa) {
    case dnnl::cpu_isa::sse41:
      return "sse41";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "another instruction set";
  }
}

// Pooling with windows of 2; the descriptions differ between the versions.
struct DescribePool {
  Md src, dst;
  DnnlDims two, none;
  dnnl::algorithm algorithm;

#if DNNL_VERSION_MAJOR >= 3
  auto forward(dnnl::prop_kind kind) const {
    return dnnl::pooling_forward::primitive_desc(engine(), kind, algorithm, src, dst, two, two, none, none, none,
                                                 attributes());
  }
  auto backward() const {
    return dnnl::pooling_backward::primitive_desc(engine(), algorithm, src, dst, two, two, none, none, none,
                                                  forward(dnnl::prop_kind::forward_training), attributes());
  }
#else
  auto forward(dnnl::prop_kind kind) const {
    const dnnl::pooling_forward::desc d(kind, algorithm, src, dst, two, two, none, none);
    return dnnl::pooling_forward::primitive_desc(d, attributes(), engine());
  }
  auto backward() const {
    const dnnl::pooling_backward::desc d(algorithm, src, dst, two, two, none, none);
    return dnnl::pooling_backward::primitive_desc(d, attributes(), engine(),
                                                  forward(dnnl::prop_kind::forward_training));
  }
#endif
};

}  // namespace

const ConvTable cpu::kOnednnConv{.name = "oneDNN",
                                 .forward = conv_forward_onednn,
                                 .backward_data = conv_backward_data_onednn,
                                 .backward_weights = conv_backward_weights_onednn};
const MatmulTable cpu::kOnednnMatmul{.name = "oneDNN", .matmul = matmul_onednn};

namespace onednn {

std::string version() {
  const dnnl::version_t* v = dnnl::version();
  return fmt::format("oneDNN {}.{}.{} ({})", v->major, v->minor, v->patch, name_of(dnnl::get_effective_cpu_isa()));
}

void forget_weights() {
  weights_cache().clear();
}

void add_to(CacheStats& stats) {
  stats.primitives += plans().size();
  stats.primitives_made += plans().made();
  weights_cache().add_to(stats);
}

std::optional<DirectConv> direct_conv(Direction direction, const Dims& x, const Dims& w, const Dims& y,
                                      const ConvOptions& o, DType dtype, MemoryFormat format) {
  const ConvSpec spec{x, w, y, o, dtype, DType::f32, format, false};
  const auto plan = direction == Direction::forward         ? forward_plan(spec)
                    : direction == Direction::backward_data ? backward_data_plan(spec)
                                                            : backward_weights_plan(spec);
  if (!plan->primitive) return std::nullopt;
  DirectConv conv{.weight_bytes = bytes_of(plan->weights), .run = {}};
  switch (direction) {
    case Direction::forward:
      conv.run = [plan](const Tensor& source, const Tensor& weights, const Tensor& result) {
        tidepool::run(plan->primitive, plan->scratch,
                      {{DNNL_ARG_SRC, input(plan->src, source)},
                       {DNNL_ARG_WEIGHTS, input(plan->weights, weights)},
                       {DNNL_ARG_DST, output(plan->dst, result)}});
      };
      break;
    case Direction::backward_data:
      conv.run = [plan](const Tensor& gradient, const Tensor& weights, const Tensor& result) {
        tidepool::run(plan->primitive, plan->scratch,
                      {{DNNL_ARG_DIFF_DST, input(plan->dst, gradient)},
                       {DNNL_ARG_WEIGHTS, input(plan->weights, weights)},
                       {DNNL_ARG_DIFF_SRC, output(plan->src, result)}});
      };
      break;
    case Direction::backward_weights:
      conv.run = [plan](const Tensor& source, const Tensor& gradient, const Tensor& result) {
        tidepool::run(plan->primitive, plan->scratch,
                      {{DNNL_ARG_SRC, input(plan->src, source)},
                       {DNNL_ARG_DIFF_DST, input(plan->dst, gradient)},
                       {DNNL_ARG_DIFF_WEIGHTS, output(plan->weights, result)}});
      };
  }
  return conv;
}

std::optional<PoolOfTwo> pool_of_two(bool max, const Dims& x, const Dims& y, DType dtype, MemoryFormat format) {
  const auto axes = static_cast<size_t>(x.rank() - 2);
  const DescribePool d{Md(DnnlDims(x.begin(), x.end()), type_of(dtype), map_tag(x.rank(), format)),
                       Md(DnnlDims(y.begin(), y.end()), type_of(dtype), map_tag(x.rank(), format)), DnnlDims(axes, 2),
                       DnnlDims(axes, 0),
                       max ? dnnl::algorithm::pooling_max : dnnl::algorithm::pooling_avg_exclude_padding};
  try {
    const auto inference = d.forward(dnnl::prop_kind::forward_inference),
               training = d.forward(dnnl::prop_kind::forward_training);
    const auto backward = d.backward();
    const Md workspace = training.workspace_desc();
    const auto kernel = [d, workspace](const dnnl::primitive& primitive, const Md& scratch, bool backwards) {
      return [d, workspace, primitive, scratch, backwards](const Tensor& dense_map, const Tensor& pooled,
                                                           const Tensor& winners) {
        std::unordered_map<int, dnnl::memory> args;
        if (backwards)
          args = {{DNNL_ARG_DIFF_SRC, output(d.src, dense_map)}, {DNNL_ARG_DIFF_DST, input(d.dst, pooled)}};
        else
          args = {{DNNL_ARG_SRC, input(d.src, dense_map)}, {DNNL_ARG_DST, output(d.dst, pooled)}};
        if (winners && !is_none(workspace)) args.emplace(DNNL_ARG_WORKSPACE, output(workspace, winners));
        tidepool::run(primitive, scratch, std::move(args));
      };
    };
    const auto infer = kernel(dnnl::pooling_forward(inference), inference.scratchpad_desc(), false),
               forward = kernel(dnnl::pooling_forward(training), training.scratchpad_desc(), false),
               back = kernel(dnnl::pooling_backward(backward), backward.scratchpad_desc(), true);
    return PoolOfTwo{.workspace_bytes = is_none(workspace) ? 0 : bytes_of(workspace),
                     .inference = [infer](const Tensor& source, const Tensor& result) { infer(source, result, {}); },
                     .training = [forward](const Tensor& source, const Tensor& result,
                                           const Tensor& winners) { forward(source, result, winners); },
                     .backward = [back](const Tensor& gradient, const Tensor& result,
                                        const Tensor& winners) { back(result, gradient, winners); }};
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

}  // namespace onednn
}  // namespace tidepool
