# The GPU backend. Its host side is C++ against the toolkit's headers; its kernels are compiled by nvcc into the program, and
# by the C++ compiler for the simulated device of the tests (tests/simulated_cuda/), which needs no GPU and no nvcc. A
# program that links the simulated objects takes them, and not those of the libraries.
set(TIDEPOOL_CUDA_HOST cuda/host_copy.cpp cuda/runtime.cpp cuda/stream.cpp cuda/tables.cpp cuda/upload.cpp)
set(TIDEPOOL_CUDA_KERNELS activation copy direct elementwise loss norm reduction resize update)
list(TRANSFORM TIDEPOOL_CUDA_KERNELS REPLACE "(.+)" "core/cuda/kernels/\\1.cpp")

# nvcc's unit of a source: a .cu, generated, that includes it.
function(tidepool_compile_with_nvcc target folder definition)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(unit ${CMAKE_BINARY_DIR}/generated/${folder}/${name}.cu)
    file(CONFIGURE OUTPUT ${unit} CONTENT "${definition}#include \"${source}\"\n" @ONLY)
    # fmt 9 takes nvcc for a compiler without constexpr, but not without consteval
    set_property(SOURCE ${unit} APPEND PROPERTY COMPILE_OPTIONS
      --extended-lambda --expt-relaxed-constexpr -DFMT_CONSTEVAL= -DFMT_USE_CONSTEXPR=1)
    if(name STREQUAL "dynopool")
      set_property(SOURCE ${unit} APPEND PROPERTY COMPILE_OPTIONS --fmad=false)
    endif()
    target_sources(${target} PRIVATE ${unit})
  endforeach()
endfunction()

# The simulated device with the kernels that it runs: libraries of objects, to be linked before everything else.
function(tidepool_add_simulated_cuda)
  find_path(TIDEPOOL_CUDA_INCLUDE cuda_runtime_api.h
    HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include)
  mark_as_advanced(TIDEPOOL_CUDA_INCLUDE)
  if(NOT TIDEPOOL_CUDA_INCLUDE OR NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    message(STATUS "no tests of the GPU backend: they need the CUDA toolkit's headers and GCC on x86-64")
    return()
  endif()
  add_library(tidepool_simulated_cuda OBJECT tests/simulated_cuda/block.cpp tests/simulated_cuda/runtime.cpp)
  if(NOT TIDEPOOL_WITH_CUDA)
    list(TRANSFORM TIDEPOOL_CUDA_HOST PREPEND core/ OUTPUT_VARIABLE host)
    target_sources(tidepool_simulated_cuda PRIVATE ${host})
  endif()
  add_library(tidepool_simulated_kernels OBJECT ${TIDEPOOL_CUDA_KERNELS})
  add_library(tidepool_simulated_pool OBJECT)
  tidepool_pool_on_simulated_cuda(tidepool_simulated_pool)
  foreach(target tidepool_simulated_kernels tidepool_simulated_pool)
    target_compile_definitions(${target} PRIVATE TP_SIMULATED_CUDA)
    target_compile_options(${target} PRIVATE
      -include ${CMAKE_SOURCE_DIR}/tests/simulated_cuda/device_side.h $<$<CONFIG:Release>:-O1>)
  endforeach()
  # What only vectors use, a pass for a device does not.
  target_compile_options(tidepool_simulated_pool PRIVATE -Wno-unused-parameter)
  foreach(target tidepool_simulated_cuda tidepool_simulated_kernels tidepool_simulated_pool)
    target_link_libraries(${target} PRIVATE tidepool_core)
    target_include_directories(${target} SYSTEM PRIVATE ${TIDEPOOL_CUDA_INCLUDE})
  endforeach()
endfunction()
