# TIDEPOOL_PORTABLE: one build for every machine of the architecture. core and layers, where all the time goes, are a
# shared library, compiled once for each level of x86-64 (psABI: v2; v3 has AVX2; v4 has AVX-512); the system's loader takes
# the highest that the processor has, from the folder glibc-hwcaps/x86-64-vN beside the library. The rest is compiled once, for the
# least. GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX2 makes a processor one of a lower level.
set(TIDEPOOL_LEVELS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(TIDEPOOL_LEVELS x86-64-v3 x86-64-v4)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-march=x86-64-v2>)
endif()

# Once the rooms core and layers have said what they are made of.
function(tidepool_add_levels)
  get_property(sources GLOBAL PROPERTY TIDEPOOL_LEVEL_SOURCES)
  get_property(links GLOBAL PROPERTY TIDEPOOL_LEVEL_LINKS)
  list(REMOVE_ITEM links tidepool_core)
  foreach(level base ${TIDEPOOL_LEVELS})
    set(folder "")
    set(options "")
    if(NOT level STREQUAL "base")
      set(folder /glibc-hwcaps/${level})
      set(options -march=${level})
    endif()
    add_library(tidepool_${level} SHARED ${sources})
    add_dependencies(tidepool_${level} tidepool_version)
    target_compile_options(tidepool_${level} PRIVATE ${options})
    target_link_libraries(tidepool_${level} PUBLIC tidepool_options ${links})
    # What a level calls of its own templates is its own, whatever else in the program has a function of that name.
    target_link_options(tidepool_${level} PRIVATE -Wl,-Bsymbolic-functions)
    set_target_properties(tidepool_${level} PROPERTIES OUTPUT_NAME tidepool
      LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib${folder}")
    if(NOT level STREQUAL "base")
      add_dependencies(tidepool_base tidepool_${level})
    endif()
  endforeach()
  foreach(room core layers)
    add_library(tidepool_${room} INTERFACE)
    target_link_libraries(tidepool_${room} INTERFACE tidepool_base)
  endforeach()
endfunction()

# Into `folder` below the prefix, for programs whose run path it is. More arguments are install(TARGETS)'s.
function(tidepool_install_levels folder component)
  install(TARGETS tidepool_base ${ARGN} LIBRARY DESTINATION ${folder} COMPONENT ${component})
  foreach(level ${TIDEPOOL_LEVELS})
    install(TARGETS tidepool_${level} LIBRARY DESTINATION ${folder}/glibc-hwcaps/${level} COMPONENT ${component})
  endforeach()
endfunction()
