# The GPU backend. Its host side is C++ against the toolkit's headers; its kernels are compiled by nvcc into the program, and
# by the C++ compiler for the simulated device of the tests (tests/simulated_cuda/), which needs no GPU and no nvcc. A
# program that links the simulated objects takes them, and not those of the libraries.
set(TIDEPOOL_CUDA_HOST
  cuda/cublaslt.cpp cuda/host_copy.cpp cuda/libraries.cpp cuda/loaded_library.cpp cuda/recording.cpp cuda/runtime.cpp cuda/stream.cpp
  cuda/tables.cpp cuda/upload.cpp)
set(TIDEPOOL_CUDA_KERNELS activation channel_bias copy direct elementwise loss norm reduction resize update)
list(TRANSFORM TIDEPOOL_CUDA_KERNELS REPLACE "(.+)" "core/cuda/kernels/\\1.cpp")

# cuDNN for convolutions, at the version of which the program loads it. Without it the program is built all the same, and says
# what is missing when a convolution is to run on the GPU.
find_path(TIDEPOOL_CUDNN_INCLUDE cudnn.h
  HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDNN_PATH ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include)
mark_as_advanced(TIDEPOOL_CUDNN_INCLUDE)
set(TIDEPOOL_CUDNN_VERSION)
if(TIDEPOOL_CUDNN_INCLUDE AND EXISTS ${TIDEPOOL_CUDNN_INCLUDE}/cudnn_version.h)
  file(STRINGS ${TIDEPOOL_CUDNN_INCLUDE}/cudnn_version.h lines REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) ")
  string(REGEX REPLACE "[^;0-9]*([0-9]+)" "\\1" lines "${lines}")
  list(JOIN lines "." TIDEPOOL_CUDNN_VERSION)
  if(TIDEPOOL_CUDNN_VERSION VERSION_LESS 9)
    message(STATUS "cuDNN ${TIDEPOOL_CUDNN_VERSION} is older than 9: convolutions on CUDA devices are left out")
    set(TIDEPOOL_CUDNN_VERSION)
  endif()
endif()
if(TIDEPOOL_CUDNN_VERSION)
  list(APPEND TIDEPOOL_CUDA_HOST cuda/cudnn.cpp)
else()
  list(APPEND TIDEPOOL_CUDA_HOST cuda/cudnn_absent.cpp)
endif()
# Where the libraries are now, beside the places that the system's loader knows.
set(TIDEPOOL_CUDA_LIBRARY_FOLDERS ${CUDAToolkit_LIBRARY_DIR})
if(TIDEPOOL_CUDNN_VERSION)
  find_library(TIDEPOOL_CUDNN_LIBRARY NAMES libcudnn.so.9 cudnn
    HINTS ${CUDAToolkit_LIBRARY_DIR} ENV CUDNN_PATH ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES lib64 lib)
  mark_as_advanced(TIDEPOOL_CUDNN_LIBRARY)
  if(TIDEPOOL_CUDNN_LIBRARY)
    get_filename_component(folder ${TIDEPOOL_CUDNN_LIBRARY} DIRECTORY)
    list(APPEND TIDEPOOL_CUDA_LIBRARY_FOLDERS ${folder})
  endif()
endif()
list(REMOVE_DUPLICATES TIDEPOOL_CUDA_LIBRARY_FOLDERS)
string(REPLACE ";" ":" folders "${TIDEPOOL_CUDA_LIBRARY_FOLDERS}")
set_property(SOURCE core/cuda/loaded_library.cpp APPEND PROPERTY
  COMPILE_DEFINITIONS "TIDEPOOL_CUDA_LIBRARY_FOLDERS=\"${folders}\"")

# nvcc's unit of a source: a .cu, generated, that includes it.
function(tidepool_compile_with_nvcc target folder definition)
  # The PTX stays there, for tests/cuda/sass_test.cpp; of the pooling operators, that of one.
  set(kept ${CMAKE_BINARY_DIR}/generated/${folder}/kept)
  file(MAKE_DIRECTORY ${kept})
  set_property(GLOBAL APPEND PROPERTY TIDEPOOL_PTX_FOLDERS ${kept})
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(unit ${CMAKE_BINARY_DIR}/generated/${folder}/${name}.cu)
    file(CONFIGURE OUTPUT ${unit} CONTENT "${definition}#include \"${source}\"\n" @ONLY)
    # fmt 9 takes nvcc for a compiler without constexpr, but not without consteval
    set_property(SOURCE ${unit} APPEND PROPERTY COMPILE_OPTIONS
      --extended-lambda --expt-relaxed-constexpr -DFMT_CONSTEVAL= -DFMT_USE_CONSTEXPR=1)
    if(TIDEPOOL_TESTS AND (folder STREQUAL "kernels" OR name STREQUAL "max"))
      set_property(SOURCE ${unit} APPEND PROPERTY COMPILE_OPTIONS --keep "--keep-dir=${kept}")
    endif()
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
  add_library(tidepool_simulated_cuda OBJECT
    tests/simulated_cuda/block.cpp tests/simulated_cuda/convolution.cpp tests/simulated_cuda/cublaslt.cpp
    tests/simulated_cuda/libraries.cpp tests/simulated_cuda/runtime.cpp tests/simulated_cuda/traffic.cpp)
  if(TIDEPOOL_CUDNN_VERSION)
    target_sources(tidepool_simulated_cuda PRIVATE
      tests/simulated_cuda/cudnn.cpp tests/simulated_cuda/cudnn_check.cpp)
  endif()
  if(NOT TIDEPOOL_WITH_CUDA)
    list(TRANSFORM TIDEPOOL_CUDA_HOST PREPEND core/ OUTPUT_VARIABLE host)
    list(REMOVE_ITEM host core/cuda/loaded_library.cpp)  # tests/simulated_cuda/libraries.cpp instead
    target_sources(tidepool_simulated_cuda PRIVATE ${host})
  endif()
  add_library(tidepool_simulated_kernels OBJECT ${TIDEPOOL_CUDA_KERNELS})
  add_library(tidepool_simulated_pool OBJECT)
  tidepool_pool_on_simulated_cuda(tidepool_simulated_pool)
  foreach(target tidepool_simulated_kernels tidepool_simulated_pool)
    target_compile_definitions(${target} PRIVATE TP_SIMULATED_CUDA)
    target_compile_options(${target} PRIVATE
      -include ${CMAKE_SOURCE_DIR}/tests/simulated_cuda/device_side.h $<$<CONFIG:Release>:-O1>)
    if(NOT TIDEPOOL_SANITIZE)
      target_compile_options(${target} PRIVATE -fsanitize=thread)  # tests/simulated_cuda/traffic.h
    endif()
  endforeach()
  # What only vectors use, a pass for a device does not; and a member that an operator leaves alone is copied with the
  # others, which -O1 does not see through.
  target_compile_options(tidepool_simulated_pool PRIVATE -Wno-unused-parameter -Wno-uninitialized -Wno-maybe-uninitialized)
  foreach(target tidepool_simulated_cuda tidepool_simulated_kernels tidepool_simulated_pool)
    target_link_libraries(${target} PRIVATE tidepool_core)
    target_include_directories(${target} SYSTEM PRIVATE ${TIDEPOOL_CUDA_INCLUDE})
    if(TIDEPOOL_CUDNN_VERSION)
      target_include_directories(${target} SYSTEM PRIVATE ${TIDEPOOL_CUDNN_INCLUDE})
    endif()
  endforeach()
endfunction()
