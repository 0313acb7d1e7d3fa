#include "data/fetch.h"

#include <archive.h>
#include <archive_entry.h>
#include <httplib.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include "data/archive.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

std::string made_bytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 11);
  return bytes;
}

struct TarEntry {
  std::string path, bytes;
  unsigned type = AE_IFREG;
  std::string link = {};
};

void write_tar(const std::filesystem::path& path, const std::vector<TarEntry>& entries) {
  archive* const writer = archive_write_new();
  archive_write_add_filter_gzip(writer);
  archive_write_set_format_pax_restricted(writer);
  ASSERT_EQ(archive_write_open_filename(writer, path.c_str()), ARCHIVE_OK);
  for (const TarEntry& each : entries) {
    archive_entry* const entry = archive_entry_new();
    archive_entry_set_pathname(entry, each.path.c_str());
    archive_entry_set_filetype(entry, each.type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<int64_t>(each.bytes.size()));
    if (each.type == AE_IFLNK) archive_entry_set_symlink(entry, each.link.c_str());
    if (each.type == AE_IFREG && !each.link.empty()) archive_entry_set_hardlink(entry, each.link.c_str());
    archive_write_header(writer, entry);
    if (!each.bytes.empty()) archive_write_data(writer, each.bytes.data(), each.bytes.size());
    archive_entry_free(entry);
  }
  archive_write_free(writer);
}

// A server on a port of this machine with
//   /good    the body, ranges understood       /plain   the body, ranges ignored
//   /cut     half of the body, then the end     /moved   a redirection to /good
//   /wrong   a range other than the one asked for
class FetchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("no_proxy", "127.0.0.1", 1);
    server_.Get("/good", [&](const httplib::Request& request, httplib::Response& response) {
      ranges_.push_back(request.get_header_value("Range"));
      response.set_content(body_, "application/octet-stream");
    });
    server_.Get("/plain", [&](const httplib::Request& request, httplib::Response& response) {
      ranges_.push_back(request.get_header_value("Range"));
      const_cast<httplib::Request&>(request).ranges.clear();
      response.set_content(body_, "application/octet-stream");
    });
    server_.Get("/cut", [&](const httplib::Request&, httplib::Response& response) {
      response.set_content_provider(body_.size(), "application/octet-stream",
                                    [&](size_t offset, size_t, httplib::DataSink& sink) {
                                      if (offset >= body_.size() / 2) return false;
                                      return sink.write(body_.data(), body_.size() / 2);
                                    });
    });
    server_.Get("/wrong", [&](const httplib::Request& request, httplib::Response& response) {
      const_cast<httplib::Request&>(request).ranges = {{5, 9}};
      response.set_content(body_, "application/octet-stream");
    });
    server_.Get("/moved",
                [&](const httplib::Request&, httplib::Response& response) { response.set_redirect("/good"); });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      response.set_content("a page that tells of the error", "text/plain");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([&] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  void TearDown() override {
    server_.stop();
    thread_.join();
  }

  std::string url(const std::string& path) const { return fmt::format("http://127.0.0.1:{}{}", port_, path); }
  Download request(const std::string& path) const {
    return {.url = url(path), .file = file_, .checksum = checksum_of_body(), .digest = Digest::kSha256};
  }
  std::string checksum_of_body() const {
    write_file(folder_ / "body", body_);
    const auto digest = file_digest(folder_ / "body", Digest::kSha256);
    std::filesystem::remove(folder_ / "body");
    return digest;
  }

  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_ / "new/set.bin", partial_ = folder_ / "new/set.bin.partial";
  std::string body_ = made_bytes(3000000);
  std::vector<std::string> ranges_;
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

// A port of this machine on which nobody listens: it was free a moment ago.
int closed_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ::close(socket);
  return ntohs(address.sin_port);
}

TEST(Checksum, KnowsThePublishedVectors) {
  const TemporaryFolder folder;
  write_file(folder / "abc", "abc");  // RFC 1321, FIPS 180-2
  EXPECT_EQ(file_digest(folder / "abc", Digest::kMd5), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(file_digest(folder / "abc", Digest::kSha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_SAYS(message_of<Failure>([&] { file_digest(folder / "none", Digest::kMd5); }), "none");
}

TEST_F(FetchTest, BringsAFileWithProgress) {
  std::vector<std::pair<int64_t, int64_t>> seen;
  download(request("/good"), [&](int64_t done, int64_t total) {
    seen.emplace_back(done, total);
    return true;
  });
  EXPECT_EQ(read_file(file_), body_);
  EXPECT_EQ(count_entries(folder_.path()), 2u);  // the folder and the file
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().first, 3000000);
  EXPECT_EQ(seen.back().second, 3000000);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));

  const size_t asked = ranges_.size();
  download(request("/good"));  // it is there
  EXPECT_EQ(ranges_.size(), asked);
}

TEST_F(FetchTest, GoesOnWhereACutConnectionStopped) {
  const auto message = message_of<Failure>([&] { download(request("/cut")); });
  EXPECT_SAYS(message, "1500000 bytes are kept");
  EXPECT_EQ(read_file(partial_), body_.substr(0, 1500000));
  EXPECT_FALSE(std::filesystem::exists(file_));
  int64_t least = INT64_MAX;
  download(request("/good"), [&](int64_t done, int64_t total) {
    least = std::min(least, done);
    return total == 0 || total == 3000000;
  });
  EXPECT_EQ(ranges_.back(), "bytes=1500000-");
  EXPECT_GE(least, 1500000);
  EXPECT_EQ(read_file(file_), body_);
  EXPECT_FALSE(std::filesystem::exists(partial_));
}

TEST_F(FetchTest, BeginsAnewWhereTheServerKnowsNoRanges) {
  write_file(partial_, body_.substr(0, 1000));
  download(request("/plain"));
  EXPECT_EQ(ranges_.back(), "bytes=1000-");
  EXPECT_EQ(read_file(file_), body_);
}

TEST_F(FetchTest, APartThatIsCompleteNeedsNoServer) {
  write_file(partial_, body_);
  download(request("/nothing"));
  EXPECT_EQ(read_file(file_), body_);
}

TEST_F(FetchTest, APartLongerThanTheFileIsThrownAway) {
  write_file(partial_, body_ + "more");
  download(request("/good"));
  EXPECT_EQ(read_file(file_), body_);
}

TEST_F(FetchTest, WithoutAChecksumNothingOldIsTrusted) {
  write_file(partial_, std::string(1000, 'x'));
  auto unchecked = request("/good");
  unchecked.checksum.clear();
  download(unchecked);
  EXPECT_EQ(ranges_.back(), "");
  EXPECT_EQ(read_file(file_), body_);
}

TEST_F(FetchTest, AWrongChecksumLeavesNothing) {
  auto wrong = request("/good");
  wrong.checksum[0] = wrong.checksum[0] == '0' ? '1' : '0';
  const auto message = message_of<Failure>([&] { download(wrong); });
  EXPECT_SAYS(message, wrong.checksum);
  EXPECT_SAYS(message, checksum_of_body());
  EXPECT_EQ(count_entries(folder_.path()), 1u);

  write_file(partial_, std::string(1000, 'x'));  // a part of another file
  EXPECT_SAYS(message_of<Failure>([&] { download(request("/good")); }), "expected the checksum");
  EXPECT_FALSE(std::filesystem::exists(partial_));
  download(request("/good"));  // and the next try succeeds
  EXPECT_EQ(read_file(file_), body_);
}

TEST_F(FetchTest, ARangeThatWasNotAskedForIsRefused) {
  write_file(partial_, body_.substr(0, 1000));
  EXPECT_SAYS(message_of<Failure>([&] { download(request("/wrong")); }), "asked for the bytes from 1000 on");
  EXPECT_EQ(read_file(partial_), body_.substr(0, 1000));
}

TEST_F(FetchTest, SaysWhatTheServerAnswers) {
  const auto message = message_of<Failure>([&] { download(request("/nothing")); });
  EXPECT_SAYS(message, "404");
  EXPECT_SAYS(message, "/nothing");
  EXPECT_EQ(count_entries(folder_.path()), 1u);
  write_file(partial_, "kept");
  EXPECT_SAYS(message_of<Failure>([&] { download(request("/nothing")); }), "404");
  EXPECT_EQ(read_file(partial_), "kept");  // the text of the error is not in it
}

TEST_F(FetchTest, FollowsARedirection) {
  download(request("/moved"));
  EXPECT_EQ(read_file(file_), body_);
}

TEST_F(FetchTest, EndsWhenProgressSaysSo) {
  body_ = made_bytes(30000000);
  const auto message =
      message_of<Failure>([&] { download(request("/good"), [](int64_t done, int64_t) { return done == 0; }); });
  EXPECT_SAYS(message, "ended on request");
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(FetchTest, SaysWhyNothingCouldBeFetched) {
  auto refused = request("/good");
  refused.url = fmt::format("http://127.0.0.1:{}/good", closed_port());
  const auto message = message_of<Failure>([&] { download(refused); });
  EXPECT_SAYS(message, refused.url);
  EXPECT_SAYS(message, "connect");
  EXPECT_FALSE(std::filesystem::exists(partial_));
  httplib::Server silent;  // its port takes connections, but nobody answers
  refused.url = fmt::format("http://127.0.0.1:{}/good", silent.bind_to_any_port("127.0.0.1"));
  refused.stall_seconds = 1;
  EXPECT_SAYS(message_of<Failure>([&] { download(refused); }), "too slow");
  EXPECT_SAYS(message_of<Error>([&] { download({.url = "file:///etc/passwd", .file = file_}); }), "file:///etc/passwd");
  EXPECT_SAYS(message_of<Error>([&] { download({.url = "nonsense", .file = file_}); }), "nonsense");
  write_file(folder_ / "plain", "a file, no folder");
  auto no_room = request("/good");
  no_room.file = folder_ / "plain/set.bin";
  EXPECT_SAYS(message_of<Failure>([&] { download(no_room); }), "plain");
  if (std::filesystem::exists("/dev/full")) {
    std::filesystem::create_directories(file_.parent_path());
    std::filesystem::create_symlink("/dev/full", partial_);
    EXPECT_SAYS(message_of<Failure>([&] { download(request("/good")); }), "cannot write");
  }
}

TEST_F(FetchTest, ADataSetIsFetchedAndUnpackedOnce) {
  write_tar(folder_ / "a.tar.gz", {{"set/", "", AE_IFDIR}, {"set/train.bin", "12345"}, {"set/test.bin", "12"}});
  body_ = read_file(folder_ / "a.tar.gz");
  KnownDataSet known{.name = "tiny",
                     .archive = "tiny.tar.gz",
                     .url = "http://127.0.0.1:1/never",
                     .md5 = file_digest(folder_ / "a.tar.gz", Digest::kMd5),
                     .files = {{"set/train.bin", 5}, {"set/test.bin", 2}}};
  const auto root = folder_ / "root";
  EXPECT_FALSE(is_fetched(known, root));
  EXPECT_TRUE(fetch_data_set(known, root, {.url = url("/good")}));
  EXPECT_EQ(read_file(root / "set/train.bin"), "12345");
  EXPECT_EQ(count_entries(root), 3u);
  EXPECT_FALSE(fetch_data_set(known, root, {.url = url("/good")}));
  EXPECT_EQ(ranges_.size(), 1u);

  write_file(root / "set/test.bin", "");  // broken: it is fixed, and what else lies there stays
  write_file(root / "set/mine.txt", "mine");
  EXPECT_TRUE(fetch_data_set(known, root, {.url = url("/good"), .keep_archive = true}));
  EXPECT_EQ(read_file(root / "set/test.bin"), "12");
  EXPECT_EQ(read_file(root / "set/mine.txt"), "mine");
  EXPECT_TRUE(std::filesystem::exists(root / "tiny.tar.gz"));

  known.files.push_back({"set/more.bin", 1});
  EXPECT_SAYS(message_of<Failure>([&] { fetch_data_set(known, root, {.url = url("/good")}); }),
              "not every file of tiny");
}

TEST(KnownDataSets, KnowsCifar100) {
  const KnownDataSet& known = known_data_set("cifar100");
  EXPECT_EQ(known.md5, "03b5dce01913d631647c71ecec9e9cb8");
  EXPECT_EQ(known.url, "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz");
  EXPECT_EQ(known.files.at(0).bytes, 50000 * 3074);
  EXPECT_SAYS(message_of<Error>([] { known_data_set("cifar1000"); }), "did you mean 'cifar100'?");
}

TEST(Archive, RefusesWhatWouldLeaveItsFolder) {
  const std::vector<std::pair<std::string, TarEntry>> bad = {
      {"..", {"good/../../evil.txt", "x"}},
      {"..", {"../evil.txt", "x"}},
      {"/", {"/tmp/tidepool-evil.txt", "x"}},
      {"neither file nor folder", {"link", "", AE_IFLNK, "/etc"}},
      {"neither file nor folder", {"hard", "", AE_IFREG, "first.txt"}},
      {"neither file nor folder", {"pipe", "", AE_IFIFO}},
  };
  for (const auto& [part, entry] : bad) {
    const TemporaryFolder folder;
    write_tar(folder / "bad.tar.gz", {{"first.txt", "fine"}, entry});
    const auto message = message_of<Failure>([&] { extract_archive(folder / "bad.tar.gz", folder / "out"); });
    EXPECT_SAYS(message, part);
    EXPECT_SAYS(message, entry.path);
    EXPECT_EQ(count_entries(folder / "out"), 0u) << entry.path;  // nor the good one before it
    EXPECT_EQ(count_entries(folder.path()), 2u) << entry.path;
  }
}

TEST(Archive, ADamagedOneLeavesNothing) {
  const TemporaryFolder folder;
  write_tar(folder / "a.tar.gz", {{"first.txt", "fine"}, {"big.bin", made_bytes(500000)}});
  const std::string bytes = read_file(folder / "a.tar.gz");
  write_file(folder / "a.tar.gz", bytes.substr(0, bytes.size() / 2));
  EXPECT_SAYS(message_of<Failure>([&] { extract_archive(folder / "a.tar.gz", folder / "out"); }), "a.tar.gz");
  EXPECT_EQ(count_entries(folder / "out"), 0u);
  write_file(folder / "b.tar.gz", "this is no archive");
  EXPECT_SAYS(message_of<Failure>([&] { extract_archive(folder / "b.tar.gz", folder / "out"); }), "b.tar.gz");
  EXPECT_SAYS(message_of<Failure>([&] { extract_archive(folder / "c.tar.gz", folder / "out"); }), "c.tar.gz");
}

}  // namespace
}  // namespace tidepool::testing
