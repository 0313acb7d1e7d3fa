#include "data/fetch.h"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/find_named.h"
#include "data/archive.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr long kWholeFile = 200, kPartOfFile = 206, kRangeBeyondEnd = 416;

const std::vector<KnownDataSet>& known_data_sets() {
  static const std::vector<KnownDataSet> table = {
      {.name = "cifar10",
       .archive = "cifar-10-binary.tar.gz",
       .url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
       .md5 = "c32a1d4ab5d03f1284b67883e8d87530",
       .files = {{"cifar-10-batches-bin/data_batch_1.bin", 30730000},
                 {"cifar-10-batches-bin/data_batch_2.bin", 30730000},
                 {"cifar-10-batches-bin/data_batch_3.bin", 30730000},
                 {"cifar-10-batches-bin/data_batch_4.bin", 30730000},
                 {"cifar-10-batches-bin/data_batch_5.bin", 30730000},
                 {"cifar-10-batches-bin/test_batch.bin", 30730000}}},
      {.name = "cifar100",
       .archive = "cifar-100-binary.tar.gz",
       .url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
       .md5 = "03b5dce01913d631647c71ecec9e9cb8",
       .files = {{"cifar-100-binary/train.bin", 153700000}, {"cifar-100-binary/test.bin", 30740000}}},
  };
  return table;
}

// One transfer into an open file that holds `offset` bytes already.
struct Transfer {
  CURL* curl = nullptr;
  std::FILE* file = nullptr;
  const FetchProgress* progress = nullptr;
  int64_t offset = 0;  // where the body that comes belongs in the file
  int64_t asked = 0;   // the first byte asked for
  std::string content_range;
  std::string problem;  // of our own, when a callback ends the transfer
  bool begun = false;

  long status() const {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  // Before the first byte of the body: does it go on where the file ends?
  bool begin() {
    begun = true;
    if (status() == kPartOfFile) {
      const std::string expected = fmt::format("bytes {}-", asked);
      if (content_range.rfind(expected, 0) == 0) return true;
      problem = fmt::format("asked for the bytes from {} on, got '{}'", asked, content_range);
      return false;
    }
    offset = 0;  // the server does not know ranges: the whole file comes
    if (std::fflush(file) != 0 || ::ftruncate(::fileno(file), 0) != 0) {
      problem = fmt::format("cannot write: {}", std::strerror(errno));
      return false;
    }
    return true;
  }

  size_t write(const char* bytes, size_t count) {
    const long code = status();
    if (code != kWholeFile && code != kPartOfFile) return count;  // the text of an error or a redirection
    if (!begun && !begin()) return 0;
    if (std::fwrite(bytes, 1, count, file) != count) {
      problem = fmt::format("cannot write: {}", std::strerror(errno));
      return 0;
    }
    return count;
  }
};

size_t on_body(char* bytes, size_t size, size_t count, void* transfer) {
  return static_cast<Transfer*>(transfer)->write(bytes, size * count);
}

size_t on_header(char* bytes, size_t size, size_t count, void* transfer) {
  constexpr std::string_view kName = "content-range:";
  const std::string_view line(bytes, size * count);
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  if (line.size() >= kName.size() &&
      std::equal(kName.begin(), kName.end(), line.begin(), [&](char b, char a) { return same(a, b); })) {
    const size_t begin = line.find_first_not_of(' ', kName.size()), end = line.find_last_not_of("\r\n ");
    if (begin != line.npos && end != line.npos) {
      static_cast<Transfer*>(transfer)->content_range = line.substr(begin, end - begin + 1);
    }
  }
  return size * count;
}

int on_progress(void* data, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(data);
  if (!*transfer.progress) return 0;
  const bool file = transfer.begun;  // before, what arrives is of a redirection or of no answer yet
  const int64_t all = file && total > 0 ? transfer.offset + total : 0;
  if ((*transfer.progress)(transfer.offset + (file ? done : 0), all)) return 0;
  transfer.problem = "ended on request";
  return 1;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return text;
}

int64_t size_or_zero(const fs::path& path) {
  std::error_code problem;
  const auto size = fs::file_size(path, problem);
  return problem ? 0 : static_cast<int64_t>(size);
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
}

bool has_checksum(const fs::path& path, const Download& request) {
  return file_digest(path, request.digest) == lower(request.checksum);
}

// Fetches into `partial`, going on where it ends; the status of the answer.
long transfer_into(const fs::path& partial, const Download& request, const FetchProgress& progress) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (started != CURLE_OK || !curl) throw Failure("fetch: libcurl does not start");
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(partial.c_str(), "ab"), &std::fclose);
  if (!file) throw Failure("fetch: cannot write {}: {}", partial.string(), std::strerror(errno));

  Transfer transfer;
  transfer.curl = curl.get();
  transfer.file = file.get();
  transfer.progress = &progress;
  transfer.asked = transfer.offset = size_or_zero(partial);
  const std::string range = fmt::format("{}-", transfer.asked);
  std::array<char, CURL_ERROR_SIZE> message{};
  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 10L);
  set(CURLOPT_USERAGENT, "tidepool");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(request.connect_seconds));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_seconds));
  set(CURLOPT_ERRORBUFFER, message.data());
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_HEADERFUNCTION, &on_header);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &on_progress);
  set(CURLOPT_XFERINFODATA, &transfer);
  if (transfer.asked > 0) set(CURLOPT_RANGE, range.c_str());

  const CURLcode result = curl_easy_perform(curl.get());
  const bool closed = std::fclose(file.release()) == 0;
  const long status = transfer.status();
  if (size_or_zero(partial) == 0 && (!transfer.problem.empty() || result != CURLE_OK)) remove_quietly(partial);
  if (!transfer.problem.empty()) throw Failure("fetch: {} to {}: {}", request.url, partial.string(), transfer.problem);
  if (result != CURLE_OK) {
    const std::string why = message[0] != '\0' ? message.data() : curl_easy_strerror(result);
    const int64_t kept = size_or_zero(partial);
    throw Failure("fetch: {}: {}{}", request.url, why,
                  kept > 0 ? fmt::format(" ({} bytes are kept in {}; the same command resumes from there)", kept,
                                         partial.string())
                           : "");
  }
  if (!closed) throw Failure("fetch: cannot write {}: {}", partial.string(), std::strerror(errno));
  return status;
}

}  // namespace

void download(const Download& request, const FetchProgress& progress) {
  const std::string scheme = lower(request.url.substr(0, request.url.find("://")));
  if (scheme != "http" && scheme != "https") {
    throw Error("fetch: expected a URL of http or https, got '{}'", request.url);
  }
  std::error_code problem;
  if (request.file.has_parent_path()) fs::create_directories(request.file.parent_path(), problem);
  if (problem) throw Failure("fetch: cannot make {}: {}", request.file.parent_path().string(), problem.message());
  const bool checked = !request.checksum.empty();
  if (checked && fs::is_regular_file(request.file) && has_checksum(request.file, request)) return;

  fs::path partial = request.file;
  partial += ".partial";
  // Without a checksum nobody would notice that an old part and a new rest do not fit.
  if (!checked) remove_quietly(partial);
  const bool complete = checked && size_or_zero(partial) > 0 && has_checksum(partial, request);
  if (!complete) {
    long status = transfer_into(partial, request, progress);
    if (status == kRangeBeyondEnd) {  // the part is longer than the file: not of this file
      remove_quietly(partial);
      status = transfer_into(partial, request, progress);
    }
    if (status != kWholeFile && status != kPartOfFile) {
      if (size_or_zero(partial) == 0) remove_quietly(partial);
      throw Failure("fetch: {}: the server answers with status {}", request.url, status);
    }
    if (checked) {
      const std::string came = file_digest(partial, request.digest);
      if (came != lower(request.checksum)) {
        remove_quietly(partial);
        throw Failure("fetch: {}: expected the checksum {}, got {}; what came is removed", request.url,
                      request.checksum, came);
      }
    }
  }
  fs::rename(partial, request.file, problem);
  if (problem)
    throw Failure("fetch: cannot rename {} to {}: {}", partial.string(), request.file.string(), problem.message());
}

std::vector<std::string> known_data_set_names() {
  return names_of(known_data_sets());
}

const KnownDataSet& known_data_set(std::string_view name) {
  return find_named(known_data_sets(), name, "fetch: no data set to fetch is called");
}

bool is_fetched(const KnownDataSet& known, const fs::path& folder) {
  return std::all_of(known.files.begin(), known.files.end(), [&](const KnownDataSet::File& file) {
    const fs::path path = file.path;  // below `folder`, which may also be the archive's own folder
    return size_or_zero(folder / path) == file.bytes || size_or_zero(folder / path.filename()) == file.bytes;
  });
}

bool fetch_data_set(const KnownDataSet& known, const fs::path& folder, const FetchOptions& options,
                    const FetchProgress& progress) {
  if (is_fetched(known, folder)) return false;
  const fs::path archive = folder / known.archive;
  download({.url = options.url.empty() ? known.url : options.url, .file = archive, .checksum = known.md5}, progress);
  extract_archive(archive, folder);
  if (!is_fetched(known, folder)) {
    throw Failure("fetch: {} is unpacked, but not every file of {} is there with its right size", archive.string(),
                  known.name);
  }
  if (!options.keep_archive) remove_quietly(archive);
  return true;
}

}  // namespace tidepool
