// The machine code of our kernels for GPUs that are not here: ptxas assembles the PTX that the build kept, for one
// architecture after the other, and says what registers, stack and spills each kernel takes. Where nvdisasm is, the
// instructions are looked at too.
#include <cxxabi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Architecture {
  int number, warps, blocks,
      shared;  // of a multiprocessor; shared in bytes (CUDA programming guide, compute capabilities)
};
constexpr Architecture kArchitectures[] = {
    {80, 64, 32, 163840}, {90, 64, 32, 232448}, {100, 64, 32, 232448}, {120, 48, 24, 101376}};

/// The share of a multiprocessor's warps that can be there at once (the formulas of CUDA's occupancy calculator).
double occupancy(const Architecture& a, int registers, int shared, int threads) {
  const int warps = (threads + 31) / 32;
  int blocks = std::min(a.blocks, a.warps / warps);
  if (registers > 0) {
    const int per_warp = (registers * 32 + 255) / 256 * 256;      // handed out in units of 256
    blocks = std::min(blocks, 65536 / per_warp / 4 * 4 / warps);  // by each of 4 schedulers
  }
  blocks = std::min(blocks, a.shared / (shared + 1024));  // 1 KiB of each block is the system's
  return static_cast<double>(blocks * warps) / a.warps;
}

struct Kernel {
  std::string symbol, name;  // name: without namespaces and arguments
  int registers = 0, stack = 0, spills = 0, shared = 0;
};

std::string base_name(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  std::string name = status == 0 ? text.get() : symbol;
  // Of a loop over rows, what it does (core/parallel.h).
  constexpr std::string_view kRows = "rows_kernel<";
  if (const size_t at = name.find(kRows); at != std::string::npos) {
    const size_t begin = at + kRows.size(), end = name.find_first_of("<>", begin), last = name.rfind(':', end);
    return name.substr(last != std::string::npos && last > begin ? last + 1 : begin, end - std::max(last + 1, begin));
  }
  int depth = 0;  // of angle brackets: the first one outside of which a parenthesis opens ends the name
  std::string word;
  for (const char c : name) {
    if (c == '<') ++depth;
    if (c == '>') --depth;
    if (depth > 0 || c == '>') continue;
    if (c == '(' && word.find("anonymous") == std::string::npos && !word.empty()) break;
    if (c == ':' || c == ' ' || c == '(' || c == ')')
      word.clear();
    else
      word += c;
  }
  return word;
}

std::string run(const std::string& command, int* status) {
  std::string out;
  FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return "";
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
  *status = pclose(pipe);
  return out;
}

std::vector<Kernel> parse(const std::string& report) {
  static const std::regex kEntry(R"(Compiling entry function '([^']+)')"),
      kStack(R"((\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads)"),
      kRegisters(R"(Used (\d+) registers)"), kShared(R"((\d+) bytes smem)");
  std::vector<Kernel> kernels;
  std::istringstream lines(report);
  std::smatch m;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_search(line, m, kEntry)) kernels.push_back({.symbol = m[1], .name = base_name(m[1])});
    if (kernels.empty()) continue;
    Kernel& k = kernels.back();
    if (std::regex_search(line, m, kStack)) k.stack = std::stoi(m[1]), k.spills = std::stoi(m[2]) + std::stoi(m[3]);
    if (std::regex_search(line, m, kRegisters)) k.registers = std::stoi(m[1]);
    if (std::regex_search(line, m, kShared)) k.shared = std::stoi(m[1]);
  }
  return kernels;
}

// Of a kernel without loops, whose instructions a thread executes once: how many there are a byte that it loads or
// stores.
double instructions_per_byte(const std::string& code) {
  static const std::regex kInstruction(R"(/\*[0-9a-f]{4,}\*/ +(?!NOP)(@\S+ +)?(\w+)(\S*))");
  double instructions = 0, bytes = 0;
  for (std::sregex_iterator i(code.begin(), code.end(), kInstruction), end; i != end; ++i) {
    ++instructions;
    const std::string name = (*i)[2], how = (*i)[3];
    if (name != "LDG" && name != "STG") continue;
    const auto has = [&](const char* word) { return how.find(word) != std::string::npos; };
    bytes += has(".128") ? 16 : has(".64") ? 8 : has("8") ? 1 : has("16") ? 2 : 4;
  }
  return instructions / bytes;
}

std::vector<fs::path> kept_ptx() {
  std::vector<fs::path> found;
  std::istringstream folders(TIDEPOOL_PTX_FOLDERS);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (fs::is_directory(folder))
      for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().extension() == ".ptx") found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

nlohmann::json table() {
  std::ifstream in(TIDEPOOL_SOURCE_DIR "/tests/cuda/kernels.json");
  return nlohmann::json::parse(in)["kernels"];
}

class Sass : public testing::TestWithParam<Architecture> {};

TEST_P(Sass, KernelsKeepTheirBounds) {
  const std::vector<fs::path> files = kept_ptx();
  ASSERT_FALSE(files.empty()) << "the build kept no PTX in " << TIDEPOOL_PTX_FOLDERS;
  const Architecture& a = GetParam();
  const nlohmann::json rows = table();
  const fs::path cubin = fs::temp_directory_path() / ("tidepool_sass_" + std::to_string(getpid()) + ".cubin");
  std::set<std::string> seen, wide;
  std::map<std::string, int> most_registers;
  size_t count = 0;
  for (const fs::path& ptx : files) {
    int status = 0;
    const std::string report = run(std::string(TIDEPOOL_PTXAS) + " -v -arch=sm_" + std::to_string(a.number) + " '" +
                                       ptx.string() + "' -o '" + cubin.string() + "'",
                                   &status);
    ASSERT_EQ(status, 0) << ptx << ": " << report.substr(0, 2000);
    std::map<std::string, std::string> code;  // by symbol
    if (*TIDEPOOL_NVDISASM) {
      std::istringstream lines(run(std::string(TIDEPOOL_NVDISASM) + " -c '" + cubin.string() + "'", &status));
      std::string* text = nullptr;
      for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(".text.")) text = &code[line.substr(6, line.find(':') - 6)];
        if (text) *text += line + '\n';
      }
    }
    for (const Kernel& k : parse(report)) {
      ++count;
      seen.insert(k.name);
      int& most = most_registers[k.name];
      most = std::max(most, k.registers);
      const nlohmann::json row = rows.value(k.name, nlohmann::json::object());
      const std::string who = k.name + " of " + ptx.filename().string() + " (" + k.symbol + ")";
      EXPECT_EQ(k.spills, 0) << who;
      EXPECT_LE(k.stack, row.value("stack", 0)) << who << " keeps bytes in local memory";
      const double share = occupancy(a, k.registers, k.shared, row.value("threads", 256));
      EXPECT_GE(share, row.value("occupancy", 0.5))
          << who << ": " << k.registers << " registers, " << k.shared << " bytes shared";
      const auto text = code.find(k.symbol);
      if (text == code.end()) continue;
      // Other calls are of what hardly ever happens: the far ends of floating-point divisions, roots and sines.
      static const std::regex kDivision(R"(\bCALL\..*(div|rem)_[su]64)");
      EXPECT_FALSE(std::regex_search(text->second, kDivision)) << who << " divides numbers of 64 bits";
      if (row.contains("per_byte")) {
        EXPECT_LE(instructions_per_byte(text->second), row["per_byte"].get<double>()) << who;
      }
      if (text->second.find("LDG.E.128") != std::string::npos && text->second.find("STG.E.128") != std::string::npos)
        wide.insert(k.name);
    }
  }
  std::error_code ignored;
  fs::remove(cubin, ignored);
  for (const auto& [name, row] : rows.items()) {
    EXPECT_TRUE(seen.contains(name)) << "tests/cuda/kernels.json names " << name << ", which no source has";
    if (row.value("wide", false) && *TIDEPOOL_NVDISASM) {
      EXPECT_TRUE(wide.contains(name)) << name << " has no instance that loads and stores 16 bytes";
    }
  }
  std::printf("sm_%d: %zu kernels of %zu names in %zu files;", a.number, count, seen.size(), files.size());
  for (const auto& [name, registers] : most_registers) std::printf(" %s %d", name.c_str(), registers);
  std::printf(" registers%s\n", *TIDEPOOL_NVDISASM ? "" : "; instructions not looked at: no nvdisasm");
}

INSTANTIATE_TEST_SUITE_P(Architectures, Sass, testing::ValuesIn(kArchitectures),
                         [](const auto& i) { return "sm_" + std::to_string(i.param.number); });

TEST(Occupancy, IsTheCalculators) {
  const Architecture a100 = kArchitectures[0], rtx5090 = kArchitectures[3];
  EXPECT_EQ(occupancy(a100, 32, 0, 256), 1.0);
  EXPECT_EQ(occupancy(a100, 64, 0, 256), 0.5);
  EXPECT_EQ(occupancy(a100, 40, 0, 256), 0.75);
  EXPECT_EQ(occupancy(a100, 255, 0, 256), 0.125);
  EXPECT_EQ(occupancy(a100, 32, 80000, 256), 0.25);
  EXPECT_EQ(occupancy(a100, 32, 0, 32), 0.5);  // 32 blocks
  EXPECT_EQ(occupancy(rtx5090, 32, 0, 256), 1.0);
}

}  // namespace
