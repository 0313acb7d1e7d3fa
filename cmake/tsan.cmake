# GCC's OpenMP runtime synchronises by futexes that the thread sanitizer does not see: all that a team does would look
# like a race. LLVM's runtime has the same interface, and a tool (Archer) that tells the sanitizer what happens before
# what. The test preset "tsan" finds both in the build's folder openmp, the runtime under the name of GCC's.
file(GLOB llvm_folders /usr/lib/llvm-*/lib)
find_library(LLVM_OPENMP NAMES omp omp5 PATHS ${llvm_folders})
find_library(LLVM_ARCHER NAMES archer PATHS ${llvm_folders})
if(NOT LLVM_OPENMP OR NOT LLVM_ARCHER)
  message(FATAL_ERROR "The thread sanitizer needs LLVM's OpenMP runtime and Archer (Debian: libomp-dev)")
endif()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/openmp)
file(CREATE_LINK ${LLVM_OPENMP} ${CMAKE_BINARY_DIR}/openmp/libgomp.so.1 SYMBOLIC)
file(CREATE_LINK ${LLVM_ARCHER} ${CMAKE_BINARY_DIR}/openmp/libarcher.so SYMBOLIC)
