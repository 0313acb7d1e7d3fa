// What stands around the program when it is installed: completion, the manual page, libraries and headers for programs
// of others.
#include <regex>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class Install : public CliTest {
 protected:
  bool there(const std::string& program) const { return shell("command -v " + program).status == 0; }

  std::string write_completion(const std::string& name) const {
    const std::string text = done({"completion", name}).out;
    write("complete." + name, text);
    return text;
  }
  // What bash offers for the last of these words.
  std::string offered(const std::string& words) const {
    write("try.bash", "compopt() { :; }\nsource ./complete.bash\nCOMP_WORDS=(" + words +
                          ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_tidepool\necho \"${COMPREPLY[*]}\"\n");
    const Ended ended = shell("bash ./try.bash");
    EXPECT_EQ(ended.status, 0) << ended.out;
    return ended.out.substr(0, ended.out.find('\n'));
  }
};

TEST_F(Install, EveryCommandAndOptionIsCompletedAndDescribed) {
  std::map<std::string, std::string> texts;
  for (const char* name : {"bash", "zsh", "fish"}) texts[name] = done({"completion", name}).out;
  texts["man"] = done({"man"}).out;
  const std::string help = done({"--help"}).out;
  static const std::regex kCommand(R"(\n  ([a-z]+) )"), kOption(R"(\n  --([a-z-]+))");
  int options = 0, commands = 0;
  for (std::sregex_iterator c(help.begin(), help.end(), kCommand), end; c != end; ++c, ++commands) {
    const std::string command = (*c)[1];
    EXPECT_NE(texts["bash"].find("\n    " + command + ") options="), std::string::npos) << command;
    EXPECT_NE(texts["zsh"].find("\n    " + command + ") _arguments"), std::string::npos) << command;
    EXPECT_NE(texts["fish"].find("-a " + command + " -d"), std::string::npos) << command;
    EXPECT_NE(texts["man"].find(".SS tidepool " + command + "\n"), std::string::npos) << command;
    const std::string page = done({command, "--help"}).out;
    for (std::sregex_iterator o(page.begin(), page.end(), kOption); o != end; ++o, ++options) {
      const std::string option = (*o)[1];
      EXPECT_TRUE(std::regex_search(texts["bash"],
                                    std::regex("\n    " + command + R"(\) options='[^']*--)" + option + "[ ']")));
      EXPECT_NE(texts["zsh"].find("--" + option), std::string::npos) << option;
      EXPECT_NE(texts["fish"].find("'__tidepool_command " + command + "' -l " + option + " "), std::string::npos);
    }
  }
  EXPECT_GE(commands, 15);
  EXPECT_GE(options, 80);
}

TEST_F(Install, BashCompletes) {
  write_completion("bash");
  write("toy_mine.json", "{}");
  fs::create_directories(file("runs"));
  for (const auto& [words, expected] : std::vector<std::pair<std::string, std::string>>{
           {"tidepool comp", "completion"},
           {"tidepool completion ''", "bash zsh fish"},
           {"tidepool train toy", "toy_procedural.json toy_shapes.json toy_mine.json"},
           {"tidepool train --set optim.lr = 0.1 --device = cpu ru", "runs"},
           {"tidepool train --set optim.lr =", ""},
           {"tidepool train x --res", "--resume"},
           {"tidepool train x --device ''", "auto cpu cuda"},
           {"tidepool train x --device = c", "cpu cuda"},
           {"tidepool train x --set optim.momen", "optim.momentum="},
           {"tidepool table 1 --scale s", "smoke small"},
           {"tidepool table par", "pareto"},
           {"tidepool data ''", "info preview fetch"},
           {"tidepool data preview voc", "voc"},
           {"tidepool op dyn", "dynopool"},
           {"tidepool pool a.png b.png run", "runs"},
           {"tidepool figure par", "pareto"},
           {"tidepool figure 4 a b run", "runs"},
           {"tidepool doctor x", ""},
           {"tidepool unknown ''", ""},
       })
    EXPECT_EQ(offered(words), expected) << words;
}

TEST_F(Install, OtherShellsTakeTheirs) {
  write_completion("zsh");
  write_completion("fish");
  if (there("zsh")) {
    const Ended ended = shell("zsh -f -n complete.zsh");
    EXPECT_EQ(ended.status, 0) << ended.out;
    EXPECT_EQ(ended.out, "");
  }
  if (there("fish")) {
    const Ended ended =
        shell("HOME=$PWD fish --no-config -c 'source complete.fish; complete -C \"tidepool table pareto\"'");
    EXPECT_EQ(ended.out, "pareto\tTABLE\n");
  }
}

TEST_F(Install, ManualPageIsCleanRoff) {
  write("tidepool.1", done({"man"}).out);
  for (const char* section : {"NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT"})
    EXPECT_NE(text_of(file("tidepool.1")).find(std::string(".SH ") + section + "\n"), std::string::npos) << section;
  if (!there("groff")) GTEST_SKIP() << "groff is not here";
  const Ended ended = shell("LC_ALL=C.UTF-8 groff -man -Tutf8 -ww -z tidepool.1");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "");
  EXPECT_NE(shell("LC_ALL=C.UTF-8 groff -man -Tascii -P-cbou tidepool.1").out.find("--batch-size N"),
            std::string::npos);
}

TEST_F(Install, BadShellsAreRefused) {
  expect_refused({"completion", "tcsh"}, {"bash, zsh, fish", "'tcsh'"});
  expect_refused({"completion", ""}, {"bash, zsh, fish"});
  expect_refused({"completion"}, {"bash|zsh|fish is missing"});
  expect_refused({"completion", "bash", "zsh"}, {"unexpected argument 'zsh'"});
  expect_refused({"man", "train"}, {"unexpected argument 'train'"});
  expect_refused({"train", "toy_procedural.json", "--device", "tpu"}, {"--device", "auto, cpu, cuda", "'tpu'"});
}

TEST_F(Install, AProgramOfOthersBuildsOnThePrefix) {
  const Ended installed = shell("cmake --install '" TIDEPOOL_BUILD_DIR "' --prefix prefix");
  ASSERT_EQ(installed.status, 0) << installed.out;
  for (const char* name : {"bin/tidepool", "share/man/man1/tidepool.1", "share/bash-completion/completions/tidepool",
                           "share/zsh/site-functions/_tidepool", "share/fish/vendor_completions.d/tidepool.fish"})
    EXPECT_GT(fs::file_size(file("prefix") / name), 0u) << name;
  EXPECT_EQ(text_of(file("prefix/share/man/man1/tidepool.1")), done({"man"}).out);
  EXPECT_EQ(shell("prefix/bin/tidepool --version").out, done({"--version"}).out);

#if defined(TIDEPOOL_PORTABLE)  // has no part for programs of others
  return;
#endif

  // Every header's own headers are there, also of those that the example does not read.
  const fs::path include = file("prefix/include/tidepool");
  static const std::regex kInclude(R"re(\n#include "([^"]+)")re");
  int headers = 0;
  for (const auto& entry : fs::recursive_directory_iterator(include)) {
    if (!entry.is_regular_file()) continue;
    ++headers;
    const std::string text = text_of(entry.path());
    for (std::sregex_iterator i(text.begin(), text.end(), kInclude), end; i != end; ++i)
      EXPECT_TRUE(fs::exists(include / (*i)[1].str())) << entry.path() << " includes " << (*i)[1];
  }
  EXPECT_GT(headers, 50);

  const Ended built = shell(
      "cmake -S '" TIDEPOOL_SOURCE_DIR
      "/examples/own_program' -B own -DCMAKE_PREFIX_PATH=\"$PWD/prefix\" -DCMAKE_CXX_COMPILER='" TIDEPOOL_CXX_COMPILER
      "' && cmake --build own");
  ASSERT_EQ(built.status, 0) << built.out;
  // Nothing of the source tree is left in what the prefix says.
  EXPECT_EQ(shell("grep -rl '" TIDEPOOL_SOURCE_DIR "' prefix/lib/*/cmake prefix/lib/cmake").out.find("idepoolT"),
            std::string::npos);
  const Ended ran = shell("own/own_program");
  EXPECT_EQ(ran.status, 0) << ran.out;
  static const std::regex kLoss("step (\\d): loss ([0-9.]+)");
  std::vector<double> losses;
  for (std::sregex_iterator i(ran.out.begin(), ran.out.end(), kLoss), end; i != end; ++i)
    losses.push_back(std::stod((*i)[2]));
  ASSERT_EQ(losses.size(), 5u) << ran.out;
  EXPECT_LT(losses.back(), losses.front());
  EXPECT_NE(ran.out.find("pool4: "), std::string::npos) << ran.out;
}

}  // namespace
}  // namespace tidepool
