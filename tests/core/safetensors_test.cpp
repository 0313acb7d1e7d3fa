#include "core/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>

#include "core/atomic_file.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;
using Values = std::vector<double>;

class Safetensors : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tidepool-safetensors-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path file(const std::string& name) const { return folder_ / name; }
  void write(const fs::path& path, const std::string& bytes) const { std::ofstream(path, std::ios::binary) << bytes; }
  static std::string bytes_of(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  // A file of that header and that many bytes of data.
  static std::string made(const std::string& header, size_t data) {
    const uint64_t length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes + header + std::string(data, '\x01');
  }
  std::string error_of(const std::string& bytes) const {
    const fs::path path = file("damaged.safetensors");
    write(path, bytes);
    try {
      read_safetensors(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  size_t files_in_folder() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

SafetensorsFile sample() {
  SafetensorsFile file;
  file.tensors["f32"] = Tensor::from({1.5f, -2.0f, 0.0f, 3.0f, 1e-40f, 6.0f}, {2, 3});
  file.tensors["f64"] = Tensor::from({1.0 / 3, -1e300}, {2});
  file.tensors["bf16"] = Tensor::from({1.0f, 2.5f, -3.0f}, {3}).to(DType::bf16);
  file.tensors["i64"] = Tensor::from({int64_t{1}, int64_t{-9000000000}}, {2, 1});
  file.tensors["u8"] = Tensor::from({uint8_t{0}, uint8_t{255}, uint8_t{7}}, {3});
  file.tensors["scalar"] = Tensor::full(Dims(), 4.25);
  file.tensors["empty"] = Tensor::zeros({0, 3, 2});
  file.tensors["rank5 \xc3\xa4\"\\"] = Tensor::full({1, 2, 1, 2, 1}, 9);
  file.metadata = {{"step", "12"}, {"note", "a \"quoted\" \xe2\x82\xac"}};
  return file;
}

// Every kind of binary16: zeros, subnormals, normals, infinities, NaN; read as f32.
TEST_F(Safetensors, HalvesAreRead) {
  const std::vector<std::pair<uint16_t, double>> halves{
      {0x0000, 0.0},     {0x8000, -0.0},     {0x0001, 0x1p-24},   {0x83ff, -1023 * 0x1p-24},
      {0x0400, 0x1p-14}, {0x3c00, 1.0},      {0xbe00, -1.5},      {0x3555, 0x1.554p-2},
      {0x7bff, 65504.0}, {0x7c00, INFINITY}, {0xfc00, -INFINITY}, {0x7e00, NAN}};
  std::string data;
  for (const auto& [bits, value] : halves) data += std::string(reinterpret_cast<const char*>(&bits), 2);
  std::string bytes = made(
      fmt::format(R"({{"t":{{"dtype":"F16","shape":[{}],"data_offsets":[0,{}]}}}})", halves.size(), data.size()), 0);
  write(file("half.safetensors"), bytes + data);
  const Tensor t = read_safetensors(file("half.safetensors")).tensors.at("t");
  EXPECT_EQ(t.dtype(), DType::f32);
  for (size_t i = 0; i < halves.size(); ++i) {
    const double got = t.values()[i], want = halves[i].second;
    EXPECT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << got << " for " << want;
    EXPECT_EQ(std::signbit(got), std::signbit(want)) << want;
  }
}

TEST_F(Safetensors, RoundTrip) {
  const fs::path path = file("x.safetensors");
  const SafetensorsFile out = sample();
  write_safetensors(path, out);
  EXPECT_EQ(files_in_folder(), 1u);
  const SafetensorsFile in = read_safetensors(path);
  EXPECT_EQ(in.metadata, out.metadata);
  ASSERT_EQ(in.tensors.size(), out.tensors.size());
  for (const auto& [name, tensor] : out.tensors) {
    const Tensor& t = in.tensors.at(name);
    EXPECT_EQ(t.shape(), tensor.shape()) << name;
    EXPECT_EQ(t.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(t.values(), tensor.values()) << name;
  }
}

TEST_F(Safetensors, TheSameContentGivesTheSameBytes) {
  write_safetensors(file("a"), sample());
  write_safetensors(file("b"), sample());
  EXPECT_EQ(bytes_of(file("a")), bytes_of(file("b")));
}

TEST_F(Safetensors, HeaderIsSortedAndDataAligned) {
  write_safetensors(file("x"), sample());
  const std::string bytes = bytes_of(file("x"));
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const std::string header = bytes.substr(8, length);
  EXPECT_LT(header.find("\"bf16\""), header.find("\"empty\""));
  EXPECT_LT(header.find("\"f32\""), header.find("\"f64\""));
  // f64 and i64 lie before what is narrower.
  EXPECT_NE(header.find("\"f64\":{\"data_offsets\":[0,16]"), std::string::npos) << header;
}

TEST_F(Safetensors, StridedTensorsAreWrittenPlain) {
  std::vector<float> values(24);
  std::iota(values.begin(), values.end(), 0.0f);
  const Tensor x = Tensor::from(std::span<const float>(values), {1, 2, 3, 4});
  SafetensorsFile out;
  out.tensors["last"] = x.contiguous(MemoryFormat::channels_last);
  out.tensors["slice"] = x.slice(3, 1, 2, 2);
  write_safetensors(file("x"), out);
  const SafetensorsFile in = read_safetensors(file("x"));
  EXPECT_EQ(in.tensors.at("last").values(), x.values());
  EXPECT_EQ(in.tensors.at("last").format(), MemoryFormat::plain);
  EXPECT_EQ(in.tensors.at("slice").values(), x.slice(3, 1, 2, 2).values());
}

TEST_F(Safetensors, AFileOfNothing) {
  write_safetensors(file("x"), {});
  EXPECT_TRUE(read_safetensors(file("x")).tensors.empty());
}

TEST_F(Safetensors, ReadsWhatOthersMayWrite) {
  // Keys in another order, spaces, data in another order than the names.
  const std::string header =
      R"( {"b": {"data_offsets": [0, 4], "shape": [4], "dtype": "U8"}, "a": {"shape":[1],"dtype":"F32","data_offsets":[4,8]} }  )";
  write(file("x"), made(header.substr(1), 8));
  const SafetensorsFile in = read_safetensors(file("x"));
  EXPECT_EQ(in.tensors.at("b").values(), (Values{1, 1, 1, 1}));
  EXPECT_EQ(in.tensors.at("a").numel(), 1);
}

struct Damage {
  const char* name;
  std::string header;
  size_t data;
  const char* expected;
};

TEST_F(Safetensors, DamagedHeaders) {
  const std::string good = R"("g":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const Damage cases[] = {
      {"no JSON", "{hello}", 0, "not JSON"},
      {"a list", "[1, 2]", 0, "does not begin with '{'"},
      {"a space before it", " {}", 0, "does not begin with '{'"},
      {"cut JSON", "{" + good, 4, "not JSON"},
      {"text after it", "{" + good + "} {}", 4, "not JSON"},
      {"a name twice", "{" + good + "," + good + "}", 4, "'g' twice"},
      {"a key twice", R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "'dtype' twice"},
      {"a name that is not UTF-8", "{\"\xff\xfe\":{}}", 0, "not UTF-8"},
      {"a NUL and more after it", "{" + good + "}" + std::string("\0{}", 3), 4, "not UTF-8"},
      {"deep nesting", "{\"t\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0, "nested deeper"},
      {"an entry that is a number", R"({"t":3})", 0, "expected an object, got 3"},
      {"no dtype", R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4, "'dtype' is missing"},
      {"no shape", R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4, "'shape' is missing"},
      {"no offsets", R"({"t":{"dtype":"F32","shape":[1]}})", 4, "'data_offsets' is missing"},
      {"another key", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}})", 4,
       "unknown key 'strides'"},
      {"a dtype we do not have", R"({"t":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}})", 4, "got \"I16\""},
      {"a dtype that is a number", R"({"t":{"dtype":7,"shape":[2],"data_offsets":[0,4]}})", 4, "got 7"},
      {"a shape that is a number", R"({"t":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "expected a list"},
      {"a negative length", R"({"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "lengths of 0 and more"},
      {"a length with a fraction", R"({"t":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "lengths of 0"},
      {"rank 6", R"({"t":{"dtype":"U8","shape":[1,1,1,1,1,1],"data_offsets":[0,1]}})", 1, "rank up to 5"},
      {"a product that overflows", R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "too large"},
      {"an overflow hidden by 0", R"({"t":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0,
       "too large"},
      {"more than the file holds", R"({"t":{"dtype":"F64","shape":[1000000000],"data_offsets":[0,8000000000]}})", 16,
       "outside the file's 16 bytes"},
      {"offsets backwards", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "outside"},
      {"negative offsets", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, "two data_offsets"},
      {"three offsets", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8, "two data_offsets"},
      {"offsets beyond 64 bits", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999999]}})", 4,
       "two data_offsets"},
      {"a shape that is too small", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8,
       "takes 4 bytes, but data_offsets hold 8"},
      {"a gap", "{" + good + R"(,"h":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})", 6, "leave a gap"},
      {"an overlap", "{" + good + R"(,"h":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", 5, "overlap"},
      {"bytes at the end", "{" + good + "}", 9, "5 bytes follow the last tensor"},
      {"metadata that is a list", R"({"__metadata__":[]})", 0, "expected an object of strings"},
      {"metadata with a number", R"({"__metadata__":{"step":12}})", 0, "'step': expected a string, got 12"},
  };
  for (const Damage& d : cases) {
    const std::string what = error_of(made(d.header, d.data));
    EXPECT_NE(what.find(d.expected), std::string::npos) << d.name << ": " << what;
    EXPECT_NE(what.find("damaged.safetensors"), std::string::npos) << d.name << ": " << what;
  }
}

TEST_F(Safetensors, DamagedFiles) {
  EXPECT_NE(error_of("").find("got 0 bytes"), std::string::npos);
  EXPECT_NE(error_of("1234567").find("got 7 bytes"), std::string::npos);
  EXPECT_NE(error_of(std::string(8, '\xff') + "{}").find("not a safetensors file"), std::string::npos);
  EXPECT_NE(error_of(std::string("\x03\0\0\0\0\0\0\0{}", 10)).find("3 bytes, but 2"), std::string::npos);
  EXPECT_NE(error_of(std::string(8, '\0')).find("does not begin"), std::string::npos);
  EXPECT_THROW(read_safetensors(folder_), Error);
  EXPECT_THROW(read_safetensors(file("none")), Error);
  ASSERT_EQ(mkfifo(file("pipe").c_str(), 0600), 0);
  EXPECT_THROW(read_safetensors(file("pipe")), Error);  // and does not wait
}

TEST_F(Safetensors, EveryCutIsAnError) {
  write_safetensors(file("x"), sample());
  const std::string bytes = bytes_of(file("x"));
  for (size_t length = 0; length < bytes.size(); ++length)
    ASSERT_NE(error_of(bytes.substr(0, length)), "no error") << length;
}

TEST_F(Safetensors, AnyFlippedByteOfTheHeaderIsReadOrRefused) {
  write_safetensors(file("x"), sample());
  const std::string bytes = bytes_of(file("x"));
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  for (size_t at = 0; at < 8 + length; ++at)
    for (const int flip : {0x01, 0x80, 0x10}) {
      std::string other = bytes;
      other[at] = static_cast<char>(other[at] ^ flip);
      error_of(other);  // no crash, no other exception
    }
}

TEST_F(Safetensors, WritingRefuses) {
  SafetensorsFile bad;
  bad.tensors["x"] = Tensor();
  EXPECT_THROW(write_safetensors(file("x"), bad), Error);
  bad.tensors.clear();
  bad.tensors["__metadata__"] = Tensor::zeros({1});
  EXPECT_THROW(write_safetensors(file("x"), bad), Error);
  bad.tensors.clear();
  bad.tensors["\xff"] = Tensor::zeros({1});
  EXPECT_THROW(write_safetensors(file("x"), bad), Error);
  EXPECT_THROW(write_safetensors(file("no/such/folder/x"), sample()), Error);
  EXPECT_THROW(write_safetensors(folder_, sample()), Error);
  EXPECT_THROW(write_safetensors("/dev/null", sample()), Error);
  EXPECT_EQ(files_in_folder(), 0u);
}

TEST_F(Safetensors, AFullDiskLeavesTheOldFile) {
  SafetensorsFile old;
  old.tensors["x"] = Tensor::full({4}, 1);
  write_safetensors(file("x"), old);
  // The limit on a file's size stands in for the full disk.
  rlimit limit = {}, small = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  small = limit;
  small.rlim_cur = 100'000;
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  SafetensorsFile large;
  large.tensors["x"] = Tensor::full({100'000}, 2);
  std::string what;
  try {
    write_safetensors(file("x"), large);
  } catch (const Failure& failure) {
    what = failure.what();
  }
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_NE(what.find("cannot be written"), std::string::npos) << what;
  EXPECT_EQ(files_in_folder(), 1u);
  EXPECT_EQ(read_safetensors(file("x")).tensors.at("x").values(), (Values{1, 1, 1, 1}));
}

TEST_F(Safetensors, ReplacesThroughASymbolicLink) {
  write_file_atomically(file("target"), "old");
  fs::create_symlink(file("target"), file("link"));
  write_file_atomically(file("link"), "new");
  EXPECT_TRUE(fs::is_symlink(file("link")));
  EXPECT_EQ(bytes_of(file("target")), "new");
}

TEST_F(Safetensors, AtomicFileWithoutCommitLeavesNothing) {
  {
    AtomicFile out(file("x"));
    out.write("half");
    EXPECT_FALSE(fs::exists(file("x")));
  }
  EXPECT_EQ(files_in_folder(), 0u);
  umask(022);
  write_file_atomically(file("x"), "whole");
  EXPECT_EQ(fs::status(file("x")).permissions(), fs::perms(0644));
}

// The real package, both ways.
class WithPython : public Safetensors {
 protected:
  void SetUp() override {
    Safetensors::SetUp();
    std::vector<std::string> candidates;
    if (const char* given = std::getenv("TIDEPOOL_PYTHON")) candidates.emplace_back(given);
    if (const std::string built = TIDEPOOL_PYTHON; !built.empty()) candidates.push_back(built);
    candidates.emplace_back("python3");
    for (const std::string& candidate : candidates)
      if (std::system(fmt::format("'{}' -c 'import safetensors.numpy' >/dev/null 2>&1", candidate).c_str()) == 0) {
        python_ = candidate;
        return;
      }
    GTEST_SKIP() << "no python with the packages safetensors and numpy (looked at "
                 << fmt::format("{}", fmt::join(candidates, ", ")) << "; name one by TIDEPOOL_PYTHON)";
  }
  void python(const std::string& script) {
    write(file("script.py"), script);
    const std::string command = fmt::format("cd '{}' && '{}' script.py >out.txt 2>&1", folder_.string(), python_);
    ASSERT_EQ(std::system(command.c_str()), 0) << bytes_of(file("out.txt"));
  }
  bool has(const std::string& module) const {
    return std::system(fmt::format("'{}' -c 'import {}' >/dev/null 2>&1", python_, module).c_str()) == 0;
  }
  std::string python_;
};

TEST_F(WithPython, ReadsOurs) {
  SafetensorsFile out = sample();
  out.tensors.erase("bf16");  // numpy has none
  write_safetensors(file("ours.safetensors"), out);
  python(R"(
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file
t = load_file("ours.safetensors")
assert sorted(t) == sorted(["f32", "f64", "i64", "u8", "scalar", "empty", 'rank5 ä"\\']), sorted(t)
want = np.array([[1.5, -2, 0], [3, 1e-40, 6]], dtype=np.float32)
assert t["f32"].dtype == np.float32 and np.array_equal(t["f32"], want)
assert t["f64"].dtype == np.float64 and np.array_equal(t["f64"], [1 / 3, -1e300])
assert t["i64"].dtype == np.int64 and np.array_equal(t["i64"], [[1], [-9000000000]])
assert t["u8"].dtype == np.uint8 and np.array_equal(t["u8"], [0, 255, 7])
assert t["scalar"].shape == () and t["scalar"] == 4.25
assert t["empty"].shape == (0, 3, 2)
assert t['rank5 ä"\\'].shape == (1, 2, 1, 2, 1)
with safe_open("ours.safetensors", "np") as f:
    assert f.metadata() == {"step": "12", "note": 'a "quoted" €'}, f.metadata()
)");
}

TEST_F(WithPython, WritesForUs) {
  python(R"(
import numpy as np
from safetensors.numpy import save_file
save_file({"a": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7, "b": np.array(2.5), "c": np.array([[1, -2]]),
           "d": np.zeros((0, 5), dtype=np.uint8), "ü": np.array([3], dtype=np.uint8)},
          "theirs.safetensors", metadata={"k": "v €"})
)");
  const SafetensorsFile in = read_safetensors(file("theirs.safetensors"));
  ASSERT_EQ(in.tensors.size(), 5u);
  EXPECT_EQ(in.metadata.at("k"), "v \xe2\x82\xac");
  EXPECT_EQ(in.tensors.at("a").shape(), Dims({2, 3, 4}));
  EXPECT_EQ(in.tensors.at("a").values()[23], static_cast<double>(23.0f / 7.0f));
  EXPECT_EQ(in.tensors.at("b").dtype(), DType::f64);
  EXPECT_EQ(in.tensors.at("b").item(), 2.5);
  EXPECT_EQ(in.tensors.at("c").values(), (Values{1, -2}));
  EXPECT_EQ(in.tensors.at("d").shape(), Dims({0, 5}));
  EXPECT_EQ(in.tensors.at("\xc3\xbc").values(), (Values{3}));
}

TEST_F(WithPython, Bf16BothWays) {
  if (!has("torch")) GTEST_SKIP() << python_ << " has no torch, and numpy has no bf16";
  SafetensorsFile out;
  out.tensors["x"] = Tensor::from({1.0f, -2.5f, 3.140625f}, {3}).to(DType::bf16);
  write_safetensors(file("ours.safetensors"), out);
  python(R"(
import torch
from safetensors.torch import load_file, save_file
x = load_file("ours.safetensors")["x"]
assert x.dtype == torch.bfloat16 and x.tolist() == [1.0, -2.5, 3.140625], x
save_file({"y": (x * 2).reshape(3, 1)}, "theirs.safetensors")
)");
  const Tensor y = read_safetensors(file("theirs.safetensors")).tensors.at("y");
  EXPECT_EQ(y.dtype(), DType::bf16);
  EXPECT_EQ(y.shape(), Dims({3, 1}));
  EXPECT_EQ(y.values(), (Values{2, -5, 6.28125}));
}

}  // namespace
}  // namespace tidepool
