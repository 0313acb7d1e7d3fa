#include "core/cuda/loaded_library.h"

#include <dlfcn.h>

#include <sstream>
#include <string>

namespace tidepool::cuda {

LoadedLibrary::LoadedLibrary(const char* name) : handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
  std::istringstream folders(TIDEPOOL_CUDA_LIBRARY_FOLDERS);  // "/usr/local/cuda/lib64:..."
  for (std::string folder; !handle_ && std::getline(folders, folder, ':');)
    handle_ = dlopen((folder + '/' + name).c_str(), RTLD_NOW | RTLD_LOCAL);
}

void* LoadedLibrary::address(const char* function) const {
  return handle_ ? dlsym(handle_, function) : nullptr;
}

}  // namespace tidepool::cuda
