// Downloads of data sets: with progress, resumed where they broke off, checked, unpacked.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/checksum.h"

namespace tidepool {

/// Bytes done and bytes in all (0: not known). false ends the download (a Failure); what has come is kept.
using FetchProgress = std::function<bool(int64_t done, int64_t total)>;

struct Download {
  std::string url;                  ///< http or https; redirections are followed
  std::filesystem::path file = {};  ///< the final name
  std::string checksum = {};        ///< hexadecimal; "": none, and then a broken download starts over
  Digest digest = Digest::kMd5;
  int64_t connect_seconds = 20;  ///< to wait for a connection
  int64_t stall_seconds = 30;    ///< without a byte before it is given up
};

/// Brings `url` to `file`. What comes is written to `file`.partial, which a later call goes on with (HTTP Range; from
/// the start when the server does not know ranges), checked, then renamed. A file that is there with the right checksum
/// is not fetched again. Failure: no connection, a status other than 200 or 206, a cut connection, a wrong checksum
/// (.partial is removed), a disk error. Error: a URL that is not http or https.
void download(const Download& request, const FetchProgress& progress = {});

/// A data set that can be fetched.
struct KnownDataSet {
  struct File {
    std::string path;  ///< inside the folder that it is fetched to
    int64_t bytes;
  };
  std::string name, archive, url, md5;
  std::vector<File> files;  ///< what must be there after it was unpacked
};

/// Error naming the nearest when there is none of this name.
const KnownDataSet& known_data_set(std::string_view name);
std::vector<std::string> known_data_set_names();

/// Whether every file of the data set lies in `folder` with its right size.
bool is_fetched(const KnownDataSet& known, const std::filesystem::path& folder);

struct FetchOptions {
  std::string url = {};       ///< instead of the data set's own
  bool keep_archive = false;  ///< leaves the archive beside what was unpacked from it
};

/// Downloads and unpacks a data set into `folder`, unless is_fetched; returns false then. Errors as download's and
/// extract_archive's.
bool fetch_data_set(const KnownDataSet& known, const std::filesystem::path& folder, const FetchOptions& options = {},
                    const FetchProgress& progress = {});

}  // namespace tidepool
