// tools/build and tools/test in a small tree of their own.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class Scripts : public CliTest {
 protected:
  // A tree whose program prints `word`, with the scripts of this one; nothing has to be installed for it.
  void make_tree(const std::string& name, const std::string& word) const {
    const fs::path source = TIDEPOOL_SOURCE_DIR;
    fs::create_directories(file(name) / "tools");
    for (const char* script : {"tools/build", "tools/test", "tools/cmake_cache.sh", "CMakePresets.json"})
      fs::copy_file(source / script, file(name) / script);
    write(name + "/tools/install_deps", "#!/bin/sh\n");
    fs::permissions(file(name) / "tools/install_deps", fs::perms::owner_all);
    write(name + "/CMakeLists.txt",
          "cmake_minimum_required(VERSION 3.25)\nproject(small LANGUAGES CXX)\nenable_testing()\n"
          "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})\nadd_executable(tidepool main.cpp)\n"
          "add_test(NAME runs COMMAND tidepool)\n");
    write(name + "/main.cpp", "#include <cstdio>\nint main() { std::puts(\"" + word + "\"); }\n");
  }
};

TEST_F(Scripts, ACopiedOrMovedTreeBuilds) {
  make_tree("first", "one");
  for (const char* script : {"build", "test"}) {
    SCOPED_TRACE(script);
    const std::string call = std::string("/tools/") + script;
    const std::string program = std::string(script) == "build" ? "/build/tidepool" : "/build-test/tidepool";
    const Ended first = shell("first" + call);
    ASSERT_EQ(first.status, 0) << first.out;
    EXPECT_EQ(first.out.find("made again"), std::string::npos) << first.out;

    fs::copy(file("first"), file("copy"), fs::copy_options::recursive);
    write("copy/main.cpp", "#include <cstdio>\nint main() { std::puts(\"two\"); }\n");
    const Ended copied = shell("copy" + call);
    EXPECT_EQ(copied.status, 0) << copied.out;
    EXPECT_NE(copied.out.find("made again"), std::string::npos) << copied.out;
    EXPECT_EQ(shell("copy" + program).out, "two\n");
    EXPECT_EQ(shell("first" + program).out, "one\n");

    fs::rename(file("copy"), file("moved"));
    const Ended moved = shell("moved" + call);
    EXPECT_EQ(moved.status, 0) << moved.out;
    EXPECT_EQ(shell("moved" + program).out, "two\n");
    EXPECT_EQ(shell("moved" + call).out.find("made again"), std::string::npos);  // once is enough
    fs::remove_all(file("moved"));
  }
}

TEST_F(Scripts, ACacheWhoseCompilerIsGoneIsMadeAnew) {
  make_tree("tree", "one");
  ASSERT_EQ(shell("tree/tools/build").status, 0);
  ASSERT_EQ(shell("sed -i 's|^CMAKE_CXX_COMPILER:.*|CMAKE_CXX_COMPILER:FILEPATH=/gone/c++|' tree/build/CMakeCache.txt")
                .status,
            0);
  const Ended again = shell("tree/tools/build");
  EXPECT_EQ(again.status, 0) << again.out;
  EXPECT_EQ(shell("tree/build/tidepool").out, "one\n");
}

TEST_F(Scripts, PackagesAreNamedOnlyWhereCmakeMissesOne) {
  make_tree("tree", "one");
  std::ofstream(file("tree/CMakeLists.txt"), std::ios::app) << "message(FATAL_ERROR \"no luck\")\n";
  const Ended broken = shell("tree/tools/build");
  EXPECT_EQ(broken.status, 1);
  EXPECT_NE(broken.out.find("no luck"), std::string::npos) << broken.out;
  EXPECT_EQ(broken.out.find("install_deps"), std::string::npos) << broken.out;
  make_tree("other", "one");
  std::ofstream(file("other/CMakeLists.txt"), std::ios::app) << "find_package(nowhere REQUIRED)\n";
  const Ended missing = shell("other/tools/build");
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.out.find("./tools/install_deps installs what is missing"), std::string::npos) << missing.out;
}

// tools/gpu_check with stand-ins for what it calls; `answer` is what nvidia-smi says.
class GpuCheck : public Scripts {
 protected:
  void make_fakes(const std::string& answer, const std::string& tests_gpu, const std::string& loss = "2.5") const {
    const auto script = [&](const std::string& name, const std::string& text) {
      fs::create_directories(file(name).parent_path());
      write(name, "#!/bin/sh\n" + text);
      fs::permissions(file(name), fs::perms::owner_all);
    };
    script("bin/nvidia-smi", answer.empty() ? "exit 9\n" : "echo '" + answer + "'\n");
    script("bin/compute-sanitizer", "shift 4\nexec \"$@\"\n");
    script("built/tests_gpu", tests_gpu);
    script("built/tidepool",
           "case \"$*\" in\n*--json*) echo '{\"loss\": 1.5}' ;;\n*) echo \"a \\\"quoted\\\" line\" ;;\nesac\n"
           "case \"$*\" in\n*--out*) for last; do :; done; mkdir -p \"$last\"; echo '{\"loss\":" +
               loss + "}' >\"$last/log.jsonl\" ;;\nesac\n");
  }
  Ended run_check() const {
    return shell("PATH=" + file("bin").string() + ":$PATH " TIDEPOOL_SOURCE_DIR "/tools/gpu_check --build " +
                 file("built").string() + " --out " + file("check.json").string());
  }
  nlohmann::json written() const {
    std::ifstream in(file("check.json"));
    return nlohmann::json::parse(in);
  }
};

TEST_F(GpuCheck, SkipsWithOneLineWhereThereIsNoGpu) {
  make_fakes("", "exit 1\n");
  const Ended ended = run_check();
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "gpu_check: skipped, no GPU answers nvidia-smi on this machine\n");
  EXPECT_FALSE(fs::exists(file("check.json")));
}

TEST_F(GpuCheck, RunsItsStepsIntoOneJson) {
  make_fakes("Fake H1, 9.0, 580.1", "echo all well\n");
  const Ended ended = run_check();
  EXPECT_EQ(ended.status, 0) << ended.out;
  const nlohmann::json json = written();
  EXPECT_EQ(json["gpu"], "Fake H1");
  EXPECT_EQ(json["compute_capability"], "9.0");
  EXPECT_EQ(json["passed"], true);
  std::map<std::string, nlohmann::json> steps;
  for (const nlohmann::json& step : json["steps"]) steps[step["step"]] = step;
  EXPECT_EQ(steps.at("battery")["output"], "all well");
  EXPECT_EQ(steps.at("doctor")["output"]["loss"], 1.5);
  EXPECT_EQ(steps.at("train toy_procedural.json bf16 cuda")["output"], "a \"quoted\" line");
  for (const char* step : {"compute-sanitizer memcheck", "compute-sanitizer racecheck", "resume", "bench step bf16",
                           "replayed steps give the same losses"})
    EXPECT_EQ(steps.at(step)["status"], 0) << step;
}

TEST_F(GpuCheck, LossesOfReplayedStepsAreCompared) {
  make_fakes("Fake H1, 9.0, 580.1", "echo all well\n", "'$((10000000000 + $$))'");  // another in every run, and close
  EXPECT_EQ(run_check().status, 1);
  const nlohmann::json json = written();
  for (const nlohmann::json& step : json["steps"])
    EXPECT_EQ(step["status"] == 0, step["step"] != "replayed steps give the same losses") << step;
}

TEST_F(GpuCheck, AStepThatFailsIsToldAndTheOthersRun) {
  make_fakes("Fake H1, 9.0, 580.1", "echo broken >&2\nexit 3\n");
  const Ended ended = run_check();
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.out.find("battery failed with 3"), std::string::npos) << ended.out;
  const nlohmann::json json = written();
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["steps"].back()["status"], 0);
  EXPECT_EQ(shell(TIDEPOOL_SOURCE_DIR "/tools/gpu_check --frob").status, 2);
}

}  // namespace
}  // namespace tidepool
