// tidepool op: one pooling operator on tensors from a file.
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/tape.h"
#include "layers/pool/onnx.h"
#include "layers/pool/prepared.h"
#include "tools/command.h"
#include "tools/pool_request.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

const Tensor& take(const SafetensorsFile& file, const fs::path& path, const std::string& name) {
  const auto it = file.tensors.find(name);
  if (it != file.tensors.end()) return it->second;
  std::vector<std::string> names;
  for (const auto& [has, tensor] : file.tensors) names.push_back(has);
  throw Error("{}: tensor '{}' is missing{}", path.string(), name, did_you_mean(name, names));
}

void refuse_unknown(const SafetensorsFile& file, const fs::path& path, const std::string& op,
                    const std::vector<std::string>& known) {
  for (const auto& [name, tensor] : file.tensors)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Error("{}: [{}] does not know the tensor '{}'{}; expected {}", path.string(), op, name,
                  did_you_mean(name, known), fmt::join(known, ", "));
}

void expect_type(const fs::path& path, const std::string& name, const Tensor& t, const Tensor& x) {
  if (t.dtype() != x.dtype())
    throw Error("{}: tensor '{}': expected {}, the type of x, got {}", path.string(), name, name_of(x.dtype()),
                name_of(t.dtype()));
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code code;
  return fs::equivalent(a, b, code) && !code;
}

Tensor zeros_like(const Tensor& x) {
  return Tensor::zeros(x.shape(), {.dtype = x.dtype()});
}

int run(const Call& call) {
  const std::string& name = call.argument();
  find_pool_operator(name);
  const fs::path input = call.path("input"), output = call.path("output");
  const bool with_grad = call.given("grad");
  const fs::path grad = with_grad ? call.path("grad") : fs::path();
  const Device device = call.device();
  nlohmann::json config = op_config(read_op_config(call), name);
  PoolMode mode{.training = false, .seed = call.seed(), .step = 0};
  if (const auto training = config.find("training"); training != config.end()) {
    if (!training->is_boolean())
      throw Error("--config: training: expected true or false, got {}", brief_json(Json(*training)));
    mode.training = training->get<bool>();
    config.erase(training);
  }
  for (const fs::path& read : {input, grad})
    if (!read.empty() && same_file(read, output))
      throw Error("--output {}: would replace a file that is read", output.string());
  if (call.given("onnx")) {
    const fs::path onnx = call.path("onnx");
    for (const fs::path& read : {input, grad})
      if (!read.empty() && same_file(read, onnx))
        throw Error("--onnx {}: would replace a file that is read", onnx.string());
    if (same_file(onnx, output) || fs::weakly_canonical(onnx) == fs::weakly_canonical(output))
      throw Error("--onnx {}: is --output too", onnx.string());
  }
  const std::unique_ptr<PoolOperator> op = make_pool_operator(config);

  const SafetensorsFile file = read_safetensors(input);
  const Tensor x_here = take(file, input, "x");
  if (!is_floating(x_here.dtype()))
    throw Error("{}: tensor 'x': expected F32, F64 or BF16, got {}", input.string(), name_of(x_here.dtype()));
  const Tensor x = x_here.to(device);

  const std::vector<ParameterSpec> specs = op->parameters(x.shape());
  const bool one_file = with_grad && same_file(input, grad);
  const std::vector<ParameterSpec> optional = op->optional_inputs(x.shape());
  std::vector<std::string> known = {"x"};
  for (const ParameterSpec& spec : specs) known.push_back(spec.name);
  for (const ParameterSpec& spec : optional) known.push_back(spec.name);
  if (one_file) known.emplace_back("dy");
  refuse_unknown(file, input, name, known);

  std::vector<Tensor> parameters;
  const auto brought = [&](const ParameterSpec& spec) -> Tensor {
    const auto it = file.tensors.find(spec.name);
    if (it == file.tensors.end()) return {};
    expect_type(input, spec.name, it->second, x);
    if (it->second.shape() != spec.shape)
      throw Error("{}: [{}] tensor '{}': expected the shape {}, got {}", input.string(), name, spec.name,
                  spec.shape.str(), it->second.shape().str());
    return it->second;
  };
  for (const ParameterSpec& spec : specs) {
    Tensor value = brought(spec);
    if (!value) value = initial_value(spec, x.dtype(), mode.seed).to(x.dtype());
    parameters.push_back(value.to(device));
  }
  std::vector<Tensor> tensors = parameters;
  for (const ParameterSpec& spec : optional)
    if (const Tensor value = brought(spec)) tensors.push_back(value.to(device));

  if (call.given("onnx")) {
    if (mode.training) throw Error("--onnx: an exported operator evaluates; expected no \"training\"");
    if (tensors.size() > parameters.size())
      throw Error("--onnx: [{}] an exported operator takes no tensor '{}'", name, optional[0].name);
    onnx::Graph graph;
    const Json keys = config;
    graph.output(pool_as_onnx(graph, graph.input("x", x.shape()), x.shape(), keys, *op, parameters), "y",
                 op->output_shape(x.shape(), parameters));
    graph.write(call.path("onnx"));
  }

  SafetensorsFile result;
  if (!with_grad) {
    result.tensors["y"] = op->forward(x, tensors, mode);
  } else {
    const SafetensorsFile dy_file = one_file ? file : read_safetensors(grad);
    const Tensor dy = take(dy_file, grad, "dy");
    if (!one_file) refuse_unknown(dy_file, grad, name, {"dy"});
    expect_type(grad, "dy", dy, x);
    x.set_requires_grad();
    for (const Tensor& p : parameters) p.set_requires_grad();
    Tape tape;
    Tensor y;
    {
      const Tape::Scope recording(&tape);
      y = op->forward(x, tensors, mode);
    }
    if (dy.shape() != y.shape())
      throw Error("{}: tensor 'dy': expected the shape of y, {}, got {}", grad.string(), y.shape().str(),
                  dy.shape().str());
    tape.backward(y, dy.to(device));
    result.tensors["y"] = y;
    result.tensors["dx"] = x.grad() ? x.grad() : zeros_like(x);
    for (size_t i = 0; i < specs.size(); ++i) {
      const Tensor& g = parameters[i].grad();
      result.tensors["d_" + specs[i].name] = g ? g.to(x.dtype()) : zeros_like(parameters[i]);
    }
  }
  write_safetensors(output, result);
  if (call.json()) {
    Json shapes = Json::object();
    for (const auto& [tensor, value] : result.tensors) {
      shapes[tensor] = Json::array();
      for (const int64_t length : value.shape()) shapes[tensor].push_back(length);
    }
    print_json({{"op", name}, {"output", output.string()}, {"shapes", shapes}});
  }
  return 0;
}

const Registered registered({
    .name = "op",
    .help = "runs one pooling operator on tensors from a file",
    .arguments = {"NAME"},
    .options =
        {
            {.name = "input",
             .value = "FILE",
             .help =
                 "safetensors with x (F32, F64 or BF16; N, C, spatial) and parameters by name, in x's type; one that "
                 "is absent takes its initial value",
             .required = true},
            {.name = "output",
             .value = "FILE",
             .help = "safetensors to be written: y, with --grad dx and d_NAME too",
             .required = true},
            {.name = "config",
             .value = "JSON",
             .help = "keys of the operator, as JSON text or @FILE; \"training\": true draws",
             .default_value = "{}"},
            {.name = "grad",
             .value = "FILE",
             .help = "safetensors with dy, of y's shape and x's type: runs the backward"},
            {.name = "onnx",
             .value = "FILE",
             .help = "writes the operator, for maps of x's size, as an ONNX graph too"},
            seed_option("0", "seed of initial values and, in training, of draws"),
            device_option(),
            json_option(),
        },
    .details = "`tidepool ops` lists the operators; `tidepool ops NAME` shows one with its keys and tensors.",
    .run = run,
});

}  // namespace
}  // namespace tidepool
