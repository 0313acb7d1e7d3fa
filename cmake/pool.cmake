# The pooling operators' sources: layers/pool/operators.inc is the one list of them.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/layers/pool/operators.inc)
file(STRINGS ${CMAKE_SOURCE_DIR}/layers/pool/operators.inc TIDEPOOL_POOL_LINES REGEX "^TP_POOL_OPERATOR")
set(TIDEPOOL_POOL_SOURCES)
foreach(line ${TIDEPOOL_POOL_LINES})
  string(REGEX REPLACE ".*\"(.*)\".*" "pool/\\1" source "${line}")
  list(APPEND TIDEPOOL_POOL_SOURCES ${source})
endforeach()
list(REMOVE_DUPLICATES TIDEPOOL_POOL_SOURCES)

# Kernels write their vectors out: what GCC 12 would join besides crashes it (a segmentation fault in its SLP pass, seen in
# quantile.cpp), what -O3 adds to -O2 is a third of the time that these files take to compile, and -fgcse a fifth.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  foreach(source ${TIDEPOOL_POOL_SOURCES})
    set_property(SOURCE layers/${source} APPEND PROPERTY COMPILE_OPTIONS -fno-tree-slp-vectorize -fno-gcse $<$<CONFIG:Release>:-O2>)
  endforeach()
endif()

# A sample is what the formula's own roundings give, not what a fused multiply-add gives: values that tie in the formula
# tie the same way in every build and on every device, and with them the gradient's winner. Only dynopool compares numbers
# that it has computed; the others may fuse (their exponentials are a third faster for it).
set_property(SOURCE layers/pool/dynopool.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)

# nvcc's pass over the same files (layers/pool/compiled_for.h).
function(tidepool_pool_on_cuda target)
  list(TRANSFORM TIDEPOOL_POOL_SOURCES PREPEND layers/ OUTPUT_VARIABLE sources)
  tidepool_compile_with_nvcc(${target} pool "#define TP_COMPILE_FOR_CUDA\n" ${sources})
endfunction()

# The same for the simulated device: a .cpp beside each.
function(tidepool_pool_on_simulated_cuda target)
  foreach(source ${TIDEPOOL_POOL_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    set(unit ${CMAKE_BINARY_DIR}/generated/pool/${name}_on_cuda.cpp)
    file(CONFIGURE OUTPUT ${unit} CONTENT "#define TP_COMPILE_FOR_CUDA\n#include \"layers/${source}\"\n" @ONLY)
    if(name STREQUAL "dynopool")
      set_property(SOURCE ${unit} APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)
    endif()
    target_sources(${target} PRIVATE ${unit})
  endforeach()
  target_sources(${target} PRIVATE layers/pool/on_cuda.cpp)
endfunction()
