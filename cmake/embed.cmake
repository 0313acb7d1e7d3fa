# Puts files into the binary: tidepool_embed(TARGET SYMBOL FILE...) generates a source for TARGET that defines
#   namespace tidepool { const EmbeddedFile SYMBOL[]; const size_t SYMBOL_count; }
# as train/config.cpp declares them. Arrays of bytes, since string literals have a longest length.
# Run as a script (cmake -P), this same file writes that source.
if(CMAKE_SCRIPT_MODE_FILE AND CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  set(arrays "")
  set(rows "")
  set(count 0)
  string(REPLACE "|" ";" FILES "${FILES}")
  foreach(file IN LISTS FILES)
    get_filename_component(name "${file}" NAME)
    file(READ "${file}" hex HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND arrays "const unsigned char file_${count}[] = {\n${bytes}0x00};\n")
    string(APPEND rows "    {\"${name}\", file_${count}, sizeof(file_${count}) - 1},\n")
    math(EXPR count "${count} + 1")
  endforeach()
  file(WRITE "${OUT}"
    "// Written by cmake/embed.cmake.\n#include <cstddef>\n\nnamespace tidepool {\n"
    "struct EmbeddedFile {\n  const char* name;\n  const unsigned char* bytes;\n  size_t size;\n};\n"
    "namespace {\n${arrays}}  // namespace\n"
    "extern const EmbeddedFile ${SYMBOL}[];\nextern const size_t ${SYMBOL}_count;\n"
    "const EmbeddedFile ${SYMBOL}[] = {\n${rows}};\nconst size_t ${SYMBOL}_count = ${count};\n"
    "}  // namespace tidepool\n")
  return()
endif()

set(TIDEPOOL_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")
function(tidepool_embed target symbol)
  set(out "${CMAKE_BINARY_DIR}/generated/${symbol}.cpp")
  string(REPLACE ";" "|" files "${ARGN}")
  add_custom_command(
    OUTPUT "${out}"
    COMMAND ${CMAKE_COMMAND} "-DOUT=${out}" "-DSYMBOL=${symbol}" "-DFILES=${files}" -P "${TIDEPOOL_EMBED_SCRIPT}"
    DEPENDS ${ARGN} "${TIDEPOOL_EMBED_SCRIPT}"
    COMMENT "Embedding ${symbol}"
    VERBATIM)
  target_sources(${target} PRIVATE "${out}")
endfunction()
