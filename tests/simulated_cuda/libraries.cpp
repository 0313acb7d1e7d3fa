// Stands in for core/cuda/loaded_library.cpp: the libraries are the stand-ins that the program is linked with.
#include <cublasLt.h>

#include <map>
#include <string>

#include "core/cuda/loaded_library.h"

#if __has_include(<cudnn.h>)
#include <cudnn.h>
#endif

namespace tidepool::cuda {

LoadedLibrary::LoadedLibrary(const char*) : handle_(this) {}

void* LoadedLibrary::address(const char* function) const {
#define TP_STAND_IN(name) \
  { #name, reinterpret_cast < void*>(&::name) }
  static const std::map<std::string, void*> functions = {
#if __has_include(<cudnn.h>)
    TP_STAND_IN(cudnnGetVersion),
    TP_STAND_IN(cudnnGetErrorString),
    TP_STAND_IN(cudnnGetLastErrorString),
    TP_STAND_IN(cudnnCreate),
    TP_STAND_IN(cudnnDestroy),
    TP_STAND_IN(cudnnSetStream),
    TP_STAND_IN(cudnnBackendCreateDescriptor),
    TP_STAND_IN(cudnnBackendDestroyDescriptor),
    TP_STAND_IN(cudnnBackendSetAttribute),
    TP_STAND_IN(cudnnBackendGetAttribute),
    TP_STAND_IN(cudnnBackendFinalize),
    TP_STAND_IN(cudnnBackendExecute),
#endif
    TP_STAND_IN(cublasLtGetVersion),
    TP_STAND_IN(cublasLtGetStatusString),
    TP_STAND_IN(cublasLtCreate),
    TP_STAND_IN(cublasLtMatmulDescCreate),
    TP_STAND_IN(cublasLtMatmulDescDestroy),
    TP_STAND_IN(cublasLtMatmulDescSetAttribute),
    TP_STAND_IN(cublasLtMatrixLayoutCreate),
    TP_STAND_IN(cublasLtMatrixLayoutDestroy),
    TP_STAND_IN(cublasLtMatmulPreferenceCreate),
    TP_STAND_IN(cublasLtMatmulPreferenceDestroy),
    TP_STAND_IN(cublasLtMatmulPreferenceSetAttribute),
    TP_STAND_IN(cublasLtMatmulAlgoGetHeuristic),
    TP_STAND_IN(cublasLtMatmul),
  };
  const auto it = functions.find(function);
  return it == functions.end() ? nullptr : it->second;
}

}  // namespace tidepool::cuda
