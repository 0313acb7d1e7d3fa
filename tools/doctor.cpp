// tidepool doctor: what is here, and what is missing with the command that fixes it.
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/cuda/library_versions.h"
#include "core/device.h"
#include "core/error.h"
#include "core/version.h"
#include "data/dataset.h"
#include "tools/command.h"
#include "tools/cuda_driver.h"
#include "tools/cuda_fit.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "tools/run_config.h"
#include "train/config.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

struct Problem {
  std::string what, fix;
};

// Why CUDA cannot be used here; "" when it can.
std::string cuda_problem(const CudaDriver& driver) {
  if (!driver.problem.empty()) return driver.problem;
  if (!built_with_cuda()) return "this build has no CUDA";
  if (!cuda_available())
    return fmt::format("the CUDA runtime of this build finds no device with this driver (CUDA {})", driver.version);
  return "";
}

std::vector<Problem> find_problems(const std::string& option, const Json& data, const CudaDriver& driver) {
  std::vector<Problem> problems;
  std::error_code code;
  for (const DataLocation& location : data_locations(option)) {
    if (location.said_by == "the default" || fs::is_directory(location.folder, code)) continue;
    problems.push_back({fmt::format("{} names {}, which is no folder", location.said_by, location.folder.string()),
                        "mkdir -p " + shell_word(location.folder.string())});
  }
  for (const Json& row : data)
    if (row["problem"].is_string())
      problems.push_back(
          {row["problem"].get<std::string>(), fmt::format("tidepool data fetch {}{}", row["name"].get<std::string>(),
                                                          option.empty() ? "" : " --data " + shell_word(option))});
  if (driver.devices.empty() && fs::exists("/dev/nvidiactl", code))
    problems.push_back({"a CUDA card is here, but does not answer: " + driver.problem, "nvidia-smi"});
  else if (!driver.devices.empty() && !built_with_cuda())
    problems.push_back(
        {"a CUDA card is here, but this build has no CUDA", "apt-get install nvidia-cuda-toolkit && ./tools/build"});
  else if (!driver.devices.empty() && !cuda_available())
    problems.push_back({cuda_problem(driver), "nvidia-smi"});
  if (!driver.devices.empty() && built_with_cuda())
    for (const CudaMisfit& m : find_cuda_misfits(driver, cuda::library_versions(), TIDEPOOL_BUILT_FOR_CUDA))
      problems.push_back({m.what, m.fix});
  if (std::string_view(kCompiler).find("Release") == std::string_view::npos)
    problems.push_back({fmt::format("this is no release build ({}): it is slow", kCompiler), "./tools/build"});
  const int64_t processors = sysconf(_SC_NPROCESSORS_ONLN);
  if (cpu_threads() < processors && std::getenv("OMP_NUM_THREADS") != nullptr)
    problems.push_back(
        {fmt::format("OMP_NUM_THREADS lets the loops use {} of {} processors", cpu_threads(), processors),
         "unset OMP_NUM_THREADS"});
  return problems;
}

Json find_all_data(const std::string& option) {
  Json data = Json::array();
  for (const std::string& name : dataset_names()) {
    const bool expected = name == DataConfig().name;  // what a config uses that names none; the others are no problem
    std::optional<DataLocation> location;
    std::string problem;
    try {
      if (expected) require_data(name, option);
      location = find_data(name, option);
    } catch (const Error& e) {  // a problem to be told, no reason to stop
      if (expected) problem = e.what();
    }
    data.push_back({{"name", name},
                    {"found", !find_dataset(name).find || location.has_value()},
                    {"folder", location ? Json(location->folder.string()) : Json(nullptr)},
                    {"said_by", location ? Json(location->said_by) : Json(nullptr)},
                    {"problem", problem.empty() ? Json(nullptr) : Json(problem)}});
  }
  return data;
}

Json or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

int run(const Call& call) {
  const std::string option = call.given("data") ? call.path("data").string() : "";
  data_locations(option);  // refuses variables that are no text
  const Json data = find_all_data(option);
  const CudaDriver driver = find_cuda_driver();
  const std::string no_cuda = cuda_problem(driver);
  const cuda::LibraryVersions libraries = cuda::library_versions();
  const std::vector<Problem> problems = find_problems(option, data, driver);
  const std::vector<DeviceDescription> devices = list_devices();

  if (call.json()) {
    Json json = {{"version", kVersion},
                 {"revision", *kRevision ? Json(kRevision) : Json(nullptr)},
                 {"compiler", kCompiler},
                 {"cuda",
                  {{"compiled", built_with_cuda()},
                   {"driver", driver.found},
                   {"driver_version", driver.version.empty() ? Json(nullptr) : Json(driver.version)},
                   {"runtime_version", or_null(libraries.runtime)},
                   {"cudnn_version", or_null(libraries.cudnn)},
                   {"cublaslt_version", or_null(libraries.cublaslt)},
                   {"devices", Json::array()},
                   {"usable", no_cuda.empty()},
                   {"problem", no_cuda.empty() ? Json(nullptr) : Json(no_cuda)}}},
                 {"devices", Json::array()},
                 {"libraries", Json::object()},
                 {"data", data},
                 {"problems", Json::array()}};
    for (const DeviceDescription& d : devices)
      json["devices"].push_back({{"name", d.name},
                                 {"model", d.model},
                                 {"memory_bytes", d.memory_bytes},
                                 {"threads", d.threads},
                                 {"kernels", or_null(d.kernels)}});
    for (const CudaDevice& d : driver.devices)
      json["cuda"]["devices"].push_back(
          {{"model", d.model}, {"memory_bytes", d.memory_bytes}, {"compute_capability", d.compute_capability}});
    for (size_t i = 0; i < kLibraryCount; ++i) json["libraries"][kLibraries[i].name] = kLibraries[i].version;
    for (const Problem& p : problems) json["problems"].push_back({{"problem", p.what}, {"command", p.fix}});
    print_json(json);
    return 0;
  }

  std::string text = fmt::format("tidepool {} ({})\nbuilt with {}, {}\n\nDevices\n", kVersion,
                                 *kRevision ? kRevision : "revision not known", kCompiler,
                                 built_with_cuda() ? "CUDA compiled in" : "without CUDA");
  for (const DeviceDescription& d : devices)
    text += fmt::format(
        "  {:<5} {}, {} {}, {}{}\n", d.name, d.model, d.threads, d.name == "cpu" ? "threads" : "multiprocessors",
        bytes_text(static_cast<double>(d.memory_bytes)), d.kernels.empty() ? "" : ", kernels of " + d.kernels);
  text += fmt::format("\nCUDA\n  {:<14} {}\n  {:<14} {}\n", "build",
                      built_with_cuda() ? "CUDA compiled in" : "without CUDA", "driver",
                      !driver.found            ? "none"
                      : driver.version.empty() ? "present"
                                               : fmt::format("present, for CUDA up to {}", driver.version));
  if (built_with_cuda())
    for (const auto& [name, version, problem] :
         {std::tuple("runtime", libraries.runtime, std::string()),
          std::tuple("cuDNN", libraries.cudnn, libraries.cudnn_problem),
          std::tuple("cublasLt", libraries.cublaslt, libraries.cublaslt_problem)})
      text += fmt::format("  {:<14} {}\n", name, problem.empty() ? version : "none: " + problem);
  for (const CudaDevice& d : driver.devices)
    text += fmt::format("  {:<14} {}, {}, compute capability {}\n", "device", d.model,
                        bytes_text(static_cast<double>(d.memory_bytes)), d.compute_capability);
  if (driver.devices.empty()) text += fmt::format("  {:<14} none\n", "device");
  text += fmt::format("  {:<14} {}\n", "usable", no_cuda.empty() ? "yes" : "no: " + no_cuda);
  text += "\nLibraries\n";
  for (size_t i = 0; i < kLibraryCount; ++i)
    text += fmt::format("  {:<14} {}\n", kLibraries[i].name, kLibraries[i].version);
  text += "\nData\n";
  for (const Json& row : data) {
    const std::string name = row["name"].get<std::string>();
    text += fmt::format("  {:<14} {}\n", name,
                        row["folder"].is_string()  ? row["folder"].get<std::string>()
                        : row["found"].get<bool>() ? "made up; needs no files"
                                                   : "not found");
  }
  text += problems.empty() ? "\nNo problems.\n" : "\nProblems\n";
  for (const Problem& p : problems) text += fmt::format("  {}\n    fixed by: {}\n", p.what, p.fix);
  print(text);
  return 0;
}

const Registered registered(
    {.name = "doctor",
     .help = "versions, devices, libraries, data found, and what is missing with the command that fixes it",
     .options = {data_option(), json_option()},
     .run = run});

}  // namespace
}  // namespace tidepool
