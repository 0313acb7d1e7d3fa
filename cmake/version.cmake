# Writes the source that defines core/version.h's constants, at build time, and touches it only when something changed.
#   cmake -DOUT=FILE -DSOURCE=DIR -DVERSION=X -DCOMPILER=X -DLIBRARIES=name=version|... -P version.cmake
include("${CMAKE_CURRENT_LIST_DIR}/revision.cmake")

set(rows "")
set(count 0)
string(REPLACE "|" ";" LIBRARIES "${LIBRARIES}")
foreach(library IN LISTS LIBRARIES)
  if(library MATCHES "^([^=]+)=(.*)$")
    string(APPEND rows "    {\"${CMAKE_MATCH_1}\", \"${CMAKE_MATCH_2}\"},\n")
    math(EXPR count "${count} + 1")
  endif()
endforeach()
string(CONCAT text "// Written by cmake/version.cmake.\n#include \"core/version.h\"\n\nnamespace tidepool {\n"
  "const char* const kVersion = \"${VERSION}\";\nconst char* const kRevision = \"${revision}\";\n"
  "const char* const kCompiler = \"${COMPILER}\";\n"
  "const LibraryVersion kLibraries[] = {\n${rows}};\nconst size_t kLibraryCount = ${count};\n"
  "}  // namespace tidepool\n")
set(old "")
if(EXISTS "${OUT}")
  file(READ "${OUT}" old)
endif()
if(NOT old STREQUAL text)
  file(WRITE "${OUT}" "${text}")
endif()
