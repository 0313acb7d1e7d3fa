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
    EXPECT_EQ(first.out.find("made anew"), std::string::npos) << first.out;

    fs::copy(file("first"), file("copy"), fs::copy_options::recursive);
    write("copy/main.cpp", "#include <cstdio>\nint main() { std::puts(\"two\"); }\n");
    const Ended copied = shell("copy" + call);
    EXPECT_EQ(copied.status, 0) << copied.out;
    EXPECT_NE(copied.out.find("made anew"), std::string::npos) << copied.out;
    EXPECT_EQ(shell("copy" + program).out, "two\n");
    EXPECT_EQ(shell("first" + program).out, "one\n");

    fs::rename(file("copy"), file("moved"));
    const Ended moved = shell("moved" + call);
    EXPECT_EQ(moved.status, 0) << moved.out;
    EXPECT_EQ(shell("moved" + program).out, "two\n");
    EXPECT_EQ(shell("moved" + call).out.find("made anew"), std::string::npos);  // once is enough
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

}  // namespace
}  // namespace tidepool
