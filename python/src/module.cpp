// tidepool._core: the pooling operators for Python. It knows arrays, not frameworks: torch's tensors come and go by
// DLPack's exchange interface, others as nanobind sees them (buffers, __dlpack__) and go as numpy's. What users call is
// written in Python on top of it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/allocator.h"
#include "core/backend/outside_stream.h"
#include "core/key_schema.h"
#include "core/version.h"
#include "layers/pool/outside.h"
#include "layers/pool/prepared.h"
#include "python/src/arrays.h"
#include "python/src/recorded.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace tidepool::python {
namespace {

// -- arrays

/// torch's tensors, once `use_torch` has said what they are; without an exchange interface nanobind reads them.
struct Torch {
  PyTypeObject* tensor = nullptr;
  dlpack::ExchangeApi* api = nullptr;
} torch;

bool is_torch(nb::handle h) {
  return torch.tensor && PyType_IsSubtype(Py_TYPE(h.ptr()), torch.tensor);
}

void use_torch(nb::object tensor_type, nb::object exchange_api) {
  if (!PyType_Check(tensor_type.ptr())) throw WrongType("use_torch: expected a type");
  torch.tensor = reinterpret_cast<PyTypeObject*>(tensor_type.release().ptr());  // for the life of the process
  torch.api = nullptr;
  if (exchange_api.is_none()) return;
  auto* api = static_cast<dlpack::ExchangeApi*>(PyCapsule_GetPointer(exchange_api.ptr(), "dlpack_exchange_api"));
  if (!api) throw nb::python_error();
  while (api && api->version.major != 1) api = api->previous;
  torch.api = api;
}

/// A tensor that a call brought, and whoever its memory belongs to.
class Argument {
 public:
  Argument(const dlpack::Array& array, std::shared_ptr<void> owner, const std::string& who)
      : owner_(std::move(owner)), borrowed_(array, who) {}
  const Tensor& tensor() const { return borrowed_.tensor(); }
  bool is_kept_elsewhere() const { return !borrowed_.is_sole_owner(); }

 private:
  std::shared_ptr<void> owner_;
  Borrowed borrowed_;
};

Argument read(nb::handle h, const std::string& who) {
  if (is_torch(h) && torch.api) {
    dlpack::Managed* managed = nullptr;
    if (torch.api->from_object(h.ptr(), &managed) != 0) throw nb::python_error();
    std::shared_ptr<void> owner(managed, [](void* p) {
      auto* const m = static_cast<dlpack::Managed*>(p);
      if (m->deleter) m->deleter(m);
    });
    return {managed->array, std::move(owner), who};
  }
  nb::ndarray<nb::ro> array;
  if (!nb::try_cast(h, array, /*convert=*/false))
    throw WrongType(fmt::format("{}: expected an array of f32, f64 or bf16, got {}", who, Py_TYPE(h.ptr())->tp_name));
  if (array.device_type() == dlpack::kCudaDevice)
    throw Error("{}: expected an array in the CPU's memory; tensors of torch alone are served on CUDA", who);
  const size_t rank = array.ndim();
  std::vector<int64_t> shape(rank), strides(rank);
  for (size_t i = 0; i < rank; ++i) {
    shape[i] = static_cast<int64_t>(array.shape(i));
    strides[i] = array.stride(i);
  }
  const nb::dlpack::dtype type = array.dtype();
  std::shared_ptr<void> owner(new nb::ndarray<nb::ro>(array), [](void* p) {
    const nb::gil_scoped_acquire gil;
    delete static_cast<nb::ndarray<nb::ro>*>(p);
  });
  return {dlpack::Array{.data = const_cast<void*>(array.data()),
                        .device = {array.device_type(), array.device_id()},
                        .rank = static_cast<int32_t>(rank),
                        .type = {type.code, type.bits, type.lanes},
                        .shape = shape.data(),
                        .strides = strides.data(),
                        .byte_offset = 0},
          std::move(owner), who};
}

std::vector<Tensor> tensors_of(const std::vector<Argument>& arguments) {
  std::vector<Tensor> tensors;
  for (const Argument& a : arguments) tensors.push_back(a.tensor());
  return tensors;
}

template <class Framework>
nb::object cast_array(const Tensor& tensor) {
  const auto rank = static_cast<size_t>(tensor.rank());
  std::vector<size_t> shape;
  for (const int64_t n : tensor.shape()) shape.push_back(static_cast<size_t>(n));
  auto* const kept = new Tensor(tensor);
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  const dlpack::ElementType type = element_type(tensor.dtype());
  return nb::cast(nb::ndarray<Framework>(const_cast<void*>(tensor.raw()), rank, shape.data(), owner,
                                         tensor.strides().begin(), nb::dlpack::dtype{type.code, type.bits, type.lanes}),
                  nb::rv_policy::reference);
}

nb::object to_torch(dlpack::Managed* managed) {
  void* object = nullptr;
  if (torch.api->to_object(managed, &object) != 0) throw nb::python_error();
  return nb::steal(static_cast<PyObject*>(object));
}

/// As an array of the framework that `like` is of.
nb::object write(const Tensor& tensor, nb::handle like) {
  if (!is_torch(like)) return cast_array<nb::numpy>(tensor);
  return torch.api ? to_torch(export_tensor(tensor)) : cast_array<nb::pytorch>(tensor);
}

/// Runs `work` without Python's lock; on a GPU in the order of torch's current stream (where torch does not say which
/// that is: of CUDA's default one).
template <class Work>
void run(const Tensor& x, const Work& work) {
  void* stream = nullptr;
  const bool asks = x.device() == kCuda && torch.api && torch.api->current_stream;
  if (asks && torch.api->current_stream(dlpack::kCudaDevice, 0, &stream) != 0) throw nb::python_error();
  const nb::gil_scoped_release free;
  in_order_of(x.device(), stream, std::cref(work));
}

// -- a recorded forward as an opaque array: it lives as long as whoever saved that array

/// A forward, with the arguments whose memory its tape refers to.
struct Kept {
  Kept(const std::shared_ptr<const PoolOperator>& op, const Tensor& x, std::span<const Tensor> tensors,
       const PoolMode& mode, const std::vector<bool>& needs)
      : recorded(op, x, tensors, mode, needs) {}
  Recorded recorded;
  std::vector<Argument> arguments;
};

struct State {
  dlpack::Managed managed{};
  int64_t shape = 1, stride = 1;
  uint8_t byte = 0;  ///< what the array shows
  std::shared_ptr<Kept> kept;
};

class States {
 public:
  dlpack::Managed* add(std::shared_ptr<Kept> kept) {
    auto* const s = new State{.kept = std::move(kept)};
    s->managed = {.version = {1, 1},
                  .context = s,
                  .deleter =
                      [](dlpack::Managed* m) {
                        auto* const gone = static_cast<State*>(m->context);
                        all().forget(&gone->byte);
                        delete gone;
                      },
                  .flags = 0,
                  .array = {.data = &s->byte,
                            .device = {dlpack::kCpuDevice, 0},
                            .rank = 1,
                            .type = element_type(DType::u8),
                            .shape = &s->shape,
                            .strides = &s->stride,
                            .byte_offset = 0}};
    const std::lock_guard lock(mutex_);
    live_[&s->byte] = s;
    return &s->managed;
  }
  std::shared_ptr<Kept> find(const void* byte) {
    const std::lock_guard lock(mutex_);
    const auto it = live_.find(byte);
    if (it == live_.end())
      throw Failure(
          "the state of this forward is gone: what saves tensors for the backward has to give the same ones back");
    return it->second->kept;
  }
  /// Never destroyed: arrays may outlive the module.
  static States& all() {
    static auto* const states = new States;
    return *states;
  }

 private:
  void forget(const void* byte) {
    const std::lock_guard lock(mutex_);
    live_.erase(byte);
  }
  std::mutex mutex_;
  std::unordered_map<const void*, State*> live_;
};

// -- operators

using Shape = std::vector<int64_t>;
nb::tuple tuple_of(const Dims& dims) {
  nb::list list;
  for (const int64_t n : dims) list.append(n);
  return nb::tuple(list);
}

class Operator {
 public:
  Operator(const std::string& name, const std::string& keys) : description_(find_pool_operator(name)) {
    nlohmann::json config = nlohmann::json::parse(keys, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object()) throw Error("[{}] keys: expected an object in JSON, got {}", name, keys);
    config["type"] = name;
    draws_ = draws_in_training(config);
    op_ = make_pool_operator(config);
  }

  const std::string& name() const { return description_.name; }
  bool draws() const { return draws_; }
  nb::list parameters(const Shape& x) const { return specs_of(op_->parameters(Dims(x))); }
  nb::list optional_inputs(const Shape& x) const { return specs_of(op_->optional_inputs(Dims(x))); }
  nb::list initial(const Shape& x, bool f64, uint64_t seed) const {
    nb::list list;
    for (const Tensor& t : initial_values(*op_, Dims(x), f64 ? DType::f64 : DType::f32, seed))
      list.append(cast_array<nb::numpy>(t));
    return list;
  }
  /// With the parameters at their initial values where they are not given.
  nb::tuple output_shape(const Shape& x, nb::object tensors) const {
    const Dims shape(x);
    if (tensors.is_none()) return tuple_of(op_->output_shape(shape, initial_values(*op_, shape, DType::f32, 0)));
    const std::vector<Argument> arguments = read_all(nb::list(tensors));
    const std::vector<Tensor> parameters = tensors_of(arguments);
    Dims y;
    run(parameters.empty() ? Tensor::zeros({1}) : parameters[0], [&] { y = op_->output_shape(shape, parameters); });
    return tuple_of(y);
  }

  nb::object forward(nb::handle x, nb::list tensors, bool training, uint64_t seed) const {
    Tensor y;
    {
      const Argument input = read_map(x);
      const std::vector<Argument> others = read_all(tensors, input.tensor());
      run(input.tensor(), [&] {
        const Tape::Scope none(nullptr);
        y = own(op_->forward(input.tensor(), tensors_of(others), {.training = training, .seed = seed}));
      });
    }
    return write(y, x);
  }

  /// (y, the state for `backward`, whether the state holds x's memory)
  nb::tuple record(nb::handle x, nb::list tensors, bool training, uint64_t seed, const std::vector<bool>& needs) const {
    if (!is_torch(x) || !torch.api) throw WrongType("record: expected a torch.Tensor with an exchange interface");
    std::shared_ptr<Kept> kept;
    Tensor y;
    bool keeps_x = false;
    {
      Argument input = read_map(x);
      std::vector<Argument> others = read_all(tensors, input.tensor());
      run(input.tensor(), [&] {
        kept = std::make_shared<Kept>(op_, input.tensor(), tensors_of(others),
                                      PoolMode{.training = training, .seed = seed}, needs);
        y = own(kept->recorded.take_output());
      });
      keeps_x = input.is_kept_elsewhere();
      if (keeps_x) kept->arguments.push_back(std::move(input));
      for (Argument& a : others)
        if (a.is_kept_elsewhere()) kept->arguments.push_back(std::move(a));
    }
    return nb::make_tuple(write(y, x), to_torch(States::all().add(std::move(kept))), keeps_x);
  }

  /// Forward and backward at once: gradients of what `needs` says, in order.
  nb::list gradients(nb::handle dy, nb::handle x, nb::list tensors, bool training, uint64_t seed,
                     const std::vector<bool>& needs) const {
    std::vector<Tensor> all;
    {
      const Argument input = read_map(x), gradient = read(dy, label("dy"));
      const std::vector<Argument> others = read_all(tensors, input.tensor());
      run(input.tensor(), [&] {
        Recorded recorded(op_, input.tensor(), tensors_of(others), {.training = training, .seed = seed}, needs);
        recorded.take_output();
        all = recorded.backward(gradient.tensor(), /*keep=*/false);
      });
    }
    return write_all(all, x);
  }

  /// Brings parameters back into their range, where they are.
  void project(nb::list tensors, const Shape& x) const {
    const std::vector<Argument> parameters = read_all(tensors);
    if (!parameters.empty()) run(parameters[0].tensor(), [&] { op_->project(tensors_of(parameters), Dims(x)); });
  }

  /// What the operator does to the lengths of a map, straight through their rounding: ([(length, {axis of x: slope},
  /// [(tensor, element, slope)])], [(multiply-adds a position, channels, [lengths as before])] of what multiplies).
  nb::tuple trace(const Shape& x, nb::list tensors) const {
    const std::vector<Argument> arguments = read_all(tensors);
    const std::vector<Tensor> parameters = tensors_of(arguments);
    TracedShape shape = TracedShape::of(Dims(x));
    const Tensor self = Tensor::zeros({1});
    for (size_t i = 0; i < shape.lengths.size(); ++i) shape.lengths[i].add(self, static_cast<int64_t>(i), 1);
    Trace rows;
    TracedShape y;
    run(parameters.empty() ? self : parameters[0], [&] { y = op_->trace(shape, parameters, name(), rows); });
    const auto lengths = [&](const TracedShape& s) {
      nb::list list;
      for (const TracedLength& length : s.lengths) {
        nb::dict of_x;
        nb::list of_tensors;
        for (const Slope& slope : length.slopes) {
          if (slope.parameter.shares_storage(self)) of_x[nb::int_(slope.element)] = slope.value;
          for (size_t i = 0; i < parameters.size(); ++i)
            if (slope.parameter.shares_storage(parameters[i]))
              of_tensors.append(nb::make_tuple(i, slope.element, slope.value));
        }
        list.append(nb::make_tuple(length.value, of_x, of_tensors));
      }
      return list;
    };
    nb::list multiplying;
    for (const TracedLayer& row : rows.layers)
      multiplying.append(nb::make_tuple(row.macs_per_position, row.output.c, lengths(row.output)));
    return nb::make_tuple(y.c, lengths(y), multiplying);
  }

 private:
  std::string label(const char* what) const { return fmt::format("[{}] {}", name(), what); }
  Argument read_floating(nb::handle h, const char* what) const {
    Argument a = read(h, label(what));
    if (!is_floating(a.tensor().dtype()))
      throw WrongType(
          fmt::format("{}: expected elements of f32, f64 or bf16, got {}", label(what), name_of(a.tensor().dtype())));
    return a;
  }
  Argument read_map(nb::handle x) const { return read_floating(x, "x"); }
  std::vector<Argument> read_all(const nb::list& list, const Tensor& x = {}) const {
    std::vector<Argument> arguments;
    for (const nb::handle h : list) {
      arguments.push_back(read_floating(h, "parameters"));
      const Device device = arguments.back().tensor().device();
      if (x && device != x.device())
        throw Error("{}: expected them on {} like x, got one on {}", label("parameters"), name_of(x.device()),
                    name_of(device));
    }
    return arguments;
  }
  /// A result that nobody else has a handle to: the caller may write into it.
  static Tensor own(Tensor y) { return y.is_sole_owner() ? y : y.clone(); }
  static nb::list write_all(const std::vector<Tensor>& tensors, nb::handle like) {
    nb::list list;
    for (const Tensor& t : tensors) list.append(write(t, like));
    return list;
  }
  static nb::list specs_of(const std::vector<ParameterSpec>& specs) {
    constexpr const char* kKinds[] = {"weight", "bias", "norm", "shape", "number"};
    nb::list list;
    for (const ParameterSpec& spec : specs)
      list.append(nb::make_tuple(spec.name, tuple_of(spec.shape), kKinds[static_cast<size_t>(spec.kind)]));
    return list;
  }

  const PoolDescription& description_;
  std::shared_ptr<const PoolOperator> op_;
  bool draws_ = false;
};

nb::list backward(nb::handle state, nb::handle dy, bool keep) {
  std::vector<Tensor> all;
  {
    const Argument handle = read(state, "state"), gradient = read(dy, "dy");
    const std::shared_ptr<Kept> kept = States::all().find(handle.tensor().raw());
    run(gradient.tensor(), [&] { all = kept->recorded.backward(gradient.tensor(), keep); });
  }
  nb::list list;
  for (const Tensor& t : all) list.append(write(t, dy));
  return list;
}

/// The registry as JSON: what docs/operators.md says, for generated classes and their documentation.
std::string operators() {
  constexpr const char* kMany[] = {"one", "per_axis", "list", "map"};
  Json all = Json::array();
  for (const PoolDescription* d : pool_operators()) {
    Json keys = Json::array();
    for (const Key& key : d->keys)
      keys.push_back(
          {{"name", key.name},
           {"help", key.help},
           {"type", type_text(key)},
           {"kind", kind_name(key.kind)},
           {"many", kMany[static_cast<size_t>(key.many)]},
           {"default", Json::parse(key.default_value, nullptr, false).is_discarded() ? Json(nullptr)
                                                                                     : Json::parse(key.default_value)},
           {"default_words", key.default_words},
           {"required", key.required},
           {"schema", schema_of(key)}});
    all.push_back({{"name", d->name},
                   {"class", class_name(*d)},
                   {"function", function_name(*d)},
                   {"ranks", d->ranks},
                   {"keys", keys},
                   {"parameters", d->parameters},
                   {"formula", d->formula},
                   {"gradient", d->gradient},
                   {"source", d->source},
                   {"notes", d->notes},
                   {"keeps", d->keeps},
                   {"resizes", d->resizes}});
  }
  return all.dump();
}

}  // namespace

NB_MODULE(_core, m) {
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const WrongType& e) {
      PyErr_SetString(PyExc_TypeError, e.what());
    } catch (const Error& e) {
      PyErr_SetString(PyExc_ValueError, e.what());
    } catch (const Failure& e) {
      PyErr_SetString(PyExc_RuntimeError, e.what());
    }
  });
  nb::set_leak_warnings(false);  // configured operators are cached until the process ends
  m.attr("version") = kVersion;
  m.attr("revision") = kRevision;
  m.attr("compiler") = kCompiler;
  nb::list libraries;
  for (size_t i = 0; i < kLibraryCount; ++i)
    libraries.append(nb::make_tuple(kLibraries[i].name, kLibraries[i].version));
  m.attr("libraries") = libraries;
  m.def("cuda", [] { return cuda_available(); });
  m.def("threads", &cpu_threads);
  m.def("live_bytes", [] { return Allocator::of(kCpu).stats().live_bytes; });
  m.def("trim", [] {
    Allocator::of(kCpu).trim();
    if (cuda_available()) Allocator::of(kCuda).trim();
  });
  m.def("use_torch", &use_torch, "tensor_type"_a, "exchange_api"_a.none());
  m.def("operators", &operators);
  m.def("did_you_mean",
        [](const std::string& name, const std::vector<std::string>& known) { return did_you_mean(name, known); });
  m.def("backward", &backward, "state"_a, "dy"_a, "keep"_a);
  nb::class_<Operator>(m, "Operator")
      .def(nb::init<const std::string&, const std::string&>(), "name"_a, "keys"_a = "{}")
      .def_prop_ro("name", &Operator::name)
      .def_prop_ro("draws", &Operator::draws)
      .def("parameters", &Operator::parameters, "x"_a)
      .def("optional_inputs", &Operator::optional_inputs, "x"_a)
      .def("initial", &Operator::initial, "x"_a, "f64"_a = false, "seed"_a = 0)
      .def("output_shape", &Operator::output_shape, "x"_a, "tensors"_a.none() = nb::none())
      .def("forward", &Operator::forward, "x"_a, "tensors"_a, "training"_a, "seed"_a)
      .def("record", &Operator::record, "x"_a, "tensors"_a, "training"_a, "seed"_a, "needs"_a)
      .def("gradients", &Operator::gradients, "dy"_a, "x"_a, "tensors"_a, "training"_a, "seed"_a, "needs"_a)
      .def("project", &Operator::project, "tensors"_a, "x"_a)
      .def("trace", &Operator::trace, "x"_a, "tensors"_a);
}

}  // namespace tidepool::python
