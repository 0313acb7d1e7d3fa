// What was built, from what: filled in by cmake/version.cmake.
#pragma once
#include <cstddef>

namespace tidepool {

extern const char* const kVersion;  ///< "0.1.0"
extern const char* const
    kRevision;  ///< the git commit, "+changes" behind it when files differed; "" without git's folder
extern const char* const kCompiler;  ///< "GNU 12.2.0, Release"

/// A library that this build was configured against.
struct LibraryVersion {
  const char* name;
  const char* version;
};
extern const LibraryVersion kLibraries[];
extern const size_t kLibraryCount;

}  // namespace tidepool
