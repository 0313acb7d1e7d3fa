// Who may include whom, and whether the pages that sources name are there: reads the source tree.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"core", {"core"}},
    {"layers", {"core", "layers"}},
    {"models", {"core", "layers", "models"}},
    {"data", {"core", "data"}},
    {"train", {"core", "layers", "models", "data", "train"}},
    {"python", {"core", "layers", "python"}},
};
const std::set<std::string> kRooms = {"core", "layers", "models", "data", "train", "tools", "python", "tests"};

struct Include {
  std::string file;  // from the top: "core/tape.h"
  int line;
  std::string header;
  bool device_pass_only;  // inside #if defined(TP_DEVICE_PASS), or of nvcc alone
};

bool is_source(const fs::path& path) {
  static const std::set<std::string> kEndings = {".h", ".cpp", ".cu", ".cuh", ".inc"};
  return kEndings.contains(path.extension().string());
}

std::vector<std::pair<std::string, std::vector<std::string>>> sources() {
  std::vector<std::pair<std::string, std::vector<std::string>>> files;
  const fs::path top = TIDEPOOL_SOURCE_DIR;
  for (const std::string& room : kRooms) {
    if (!fs::exists(top / room)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(top / room)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      std::ifstream in(entry.path());
      std::vector<std::string> lines;
      for (std::string line; std::getline(in, line);) lines.push_back(line);
      files.emplace_back(fs::relative(entry.path(), top).string(), std::move(lines));
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<Include> includes() {
  static const std::regex kInclude(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::vector<Include> found;
  for (const auto& [file, lines] : sources()) {
    std::vector<bool> cuda = {false};
    for (size_t i = 0; i < lines.size(); ++i) {
      const std::string& line = lines[i];
      if (line.starts_with("#if")) {
        cuda.push_back(cuda.back() || line.find("__CUDACC__") != std::string::npos ||
                       line.find("TP_DEVICE_PASS") != std::string::npos);
      } else if (line.starts_with("#endif") && cuda.size() > 1) {
        cuda.pop_back();
      }
      std::smatch match;
      if (std::regex_search(line, match, kInclude))
        found.push_back({file, static_cast<int>(i + 1), match[1].str(), cuda.back()});
    }
  }
  return found;
}

std::string room_of(const std::string& path) {
  return path.substr(0, path.find('/'));
}

TEST(Rooms, TheTreeIsThere) {
  EXPECT_GT(sources().size(), 30u);
  EXPECT_GT(includes().size(), 100u);
}

TEST(Rooms, IncludeOnlyWhatTheyMay) {
  for (const Include& include : includes()) {
    const std::string room = room_of(include.file), other = room_of(include.header);
    if (!kRooms.contains(other) || include.header.find('/') == std::string::npos) continue;  // a library's
    EXPECT_TRUE(fs::exists(fs::path(TIDEPOOL_SOURCE_DIR) / include.header))
        << include.file << ":" << include.line << " includes " << include.header << ", which does not exist";
    const auto may = kMayInclude.find(room);
    if (may == kMayInclude.end()) continue;  // tools and tests: anything
    EXPECT_TRUE(may->second.contains(other)) << include.file << ":" << include.line << " includes " << include.header
                                             << ", but the room " << room << " may not include " << other;
  }
}

// Of core/, the folders of the backends are reached by way of core/backend/: no one else knows where a case is done.
TEST(Rooms, BackendsStandBehindTheirTables) {
  // Kernels of pooling operators that read through a norm take its passes over rows in cache.
  const std::set<std::pair<std::string, std::string>> exceptions = {
      {"layers/pool/behind_norm.h", "core/cpu/norm_rows.h"},
      {"core/allocator.cpp", "core/cuda/runtime_api.h"},
      {"core/device.cpp", "core/cuda/runtime_api.h"},
      {"core/parallel.h", "core/cuda/launch.h"}};
  const auto folder = [](const std::string& path) {
    for (const char* each : {"core/backend/", "core/cpu/winograd/", "core/cpu/", "core/cuda/", "core/reference/"})
      if (path.starts_with(each)) return std::string(each);
    return std::string();
  };
  for (const Include& include : includes()) {
    const std::string from = folder(include.file), to = folder(include.header), room = room_of(include.file);
    if (room == "tools" || room == "tests" || exceptions.contains({include.file, include.header})) continue;
    if (to == "core/cpu/" || to == "core/cuda/" || to == "core/reference/")
      EXPECT_TRUE(from == to || (from == "core/backend/" && include.file.ends_with(".cpp")) ||
                  (from == "core/cpu/winograd/" && to == "core/cpu/"))
          << include.file << ":" << include.line << " includes " << include.header << " past its table";
    if (to == "core/cpu/winograd/")
      EXPECT_TRUE(from == to || include.header == "core/cpu/winograd/convolve.h")
          << include.file << ":" << include.line << " includes " << include.header << ", not convolve.h";
  }
}

// The tensors' device chooses the table; only pooling kernels, one source for both devices, ask for it.
TEST(Rooms, NothingAboveTheBackendsAsksForADevice) {
  static const std::regex kAsks(R"(\bkCpu\b|\bkCuda\b|device\(\)(\.kind)? *[!=]=|DeviceKind)");
  for (const auto& [file, lines] : sources()) {
    const std::string room = room_of(file);
    if ((room != "layers" && room != "models" && room != "train") || file.starts_with("layers/pool/")) continue;
    for (size_t i = 0; i < lines.size(); ++i)
      EXPECT_FALSE(std::regex_search(lines[i], kAsks)) << file << ":" << i + 1 << " asks for a device";
  }
}

// A vendor's headers are included by one source file and by nothing else, so that a vendor can be replaced in one
// place.
TEST(Rooms, AVendorHasOneSourceFile) {
  struct Vendor {
    const char* name;
    const char* header;  // a regular expression for the header's name
  };
  const Vendor vendors[] = {
      {"oneDNN", R"(^(oneapi/dnnl/|dnnl).*)"},
      {"libpng", R"(^(libpng\d*/)?png(conf)?\.h$)"},
      {"libcurl", R"(^curl/.*)"},
      {"OpenSSL", R"(^openssl/.*)"},
      {"libarchive", R"(^archive(_entry)?\.h$)"},
      {"the CUDA runtime", R"(^cuda(_runtime.*)?\.h$)"},
      {"cuDNN", R"(^cudnn.*)"},
      {"cuBLAS", R"(^cublas.*)"},
      {"cuFFT", R"(^cufft.*)"},
      {"NCCL", R"(^nccl.*)"},
      {"MPI", R"(^mpi\.h$)"},
      {"cxxopts", R"(^cxxopts\.hpp$)"},
      {"nanobind", R"(^nanobind/.*)"},
      {"cairo", R"(^(cairo/)?cairo.*\.h$)"},
      {"libjpeg", R"(^(jpeglib|turbojpeg)\.h$)"},
  };
  // What launches kernels includes these two: core/cuda/ alone, and core/parallel.h where kernels are compiled.
  const std::set<std::string> exceptions = {"core/cuda/launch.h", "core/cuda/stream.h"};
  for (const Vendor& vendor : vendors) {
    const std::regex pattern(vendor.header);
    std::set<std::string> files;
    for (const Include& include : includes()) {
      if (!std::regex_match(include.header, pattern) || room_of(include.file) == "tests") continue;
      if (exceptions.contains(include.file)) continue;
      files.insert(include.file);
    }
    std::string list;
    for (const std::string& file : files) list += " " + file;
    EXPECT_LE(files.size(), 1u) << vendor.name << " is included by" << list;
    for (const std::string& file : files)
      EXPECT_FALSE(file.ends_with(".h")) << vendor.name << " is included by the header " << file;
  }
}

// A comment may send its reader to a page of this repository, and to no other.
TEST(Rooms, PagesThatCommentsNameAreThere) {
  static const std::regex kPage(R"([A-Za-z0-9_./-]*[A-Za-z0-9_]\.md\b)");
  const std::set<std::string> written = {"NAME.md", "table1.md", "pooling.md", "mine.md"};  // by the program
  const fs::path top = TIDEPOOL_SOURCE_DIR;
  std::vector<fs::path> files;
  for (const char* folder : {"cmake", "configs", "core", "data", "layers", "models", "tests", "tools", "train"})
    for (const auto& entry : fs::recursive_directory_iterator(top / folder))
      if (entry.is_regular_file() && entry.path().extension() != ".safetensors") files.push_back(entry.path());
  files.push_back(top / "CMakeLists.txt");
  files.push_back(top / "README.md");
  size_t named = 0;
  for (const fs::path& file : files) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
      if (line.find(".md") == std::string::npos) continue;
      for (std::sregex_iterator at(line.begin(), line.end(), kPage), end; at != end; ++at) {
        const std::string page = at->str();
        ++named;
        EXPECT_TRUE(written.contains(fs::path(page).filename().string()) || fs::exists(top / page) ||
                    fs::exists(file.parent_path() / page))
            << fs::relative(file, top).string() << " refers to " << page << ", which is not here";
      }
    }
  }
  EXPECT_GT(named, 10u);
}

TEST(Rooms, OnlyToolsAndTheDeviceReadTheEnvironment) {
  static const std::regex kGetenv(R"(\b(secure_)?getenv\s*\()");
  for (const auto& [file, lines] : sources()) {
    if (room_of(file) == "tools" || room_of(file) == "tests" || file.starts_with("core/device.")) continue;
    for (size_t i = 0; i < lines.size(); ++i)
      EXPECT_FALSE(std::regex_search(lines[i], kGetenv)) << file << ":" << i + 1 << " reads the environment";
  }
}

TEST(Rooms, KernelsAloneSeeTheCudaRuntime) {
  for (const Include& include : includes())
    if (include.header == "core/cuda/launch.h" || include.header == "core/cuda/stream.h")
      EXPECT_TRUE(include.file.starts_with("core/cuda/") || include.device_pass_only ||
                  room_of(include.file) == "tests")
          << include.file << ":" << include.line << ": only where TP_DEVICE_PASS is defined";
}

TEST(Rooms, HeadersAreGuarded) {
  for (const auto& [file, lines] : sources()) {
    if (!file.ends_with(".h")) continue;
    EXPECT_TRUE(std::find(lines.begin(), lines.end(), "#pragma once") != lines.end()) << file << ": no #pragma once";
  }
}

}  // namespace
