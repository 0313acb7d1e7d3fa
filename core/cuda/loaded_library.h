// A vendor's library, found when the program first needs it: a program with CUDA in it starts where there is none.
#pragma once

namespace tidepool::cuda {

class LoadedLibrary {
 public:
  /// Looks where the system's loader does, then where the library was when this program was built. It stays loaded.
  explicit LoadedLibrary(const char* name);

  explicit operator bool() const { return handle_ != nullptr; }
  /// nullptr where the library or the function is missing.
  template <class F>
  F* find(const char* function) const {
    return reinterpret_cast<F*>(address(function));
  }

 private:
  void* address(const char* function) const;

  void* handle_;
};

}  // namespace tidepool::cuda
