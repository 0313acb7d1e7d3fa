// Stands in for the CUDA backend in a build without it.
#include "core/cuda/library_versions.h"
#include "core/cuda/recording.h"
#include "core/cuda/runtime_api.h"
#include "core/cuda/tables.h"
#include "core/cuda/upload.h"
#include "core/error.h"

namespace tidepool::cuda {
namespace {
[[noreturn]] void throw_absent() {
  throw Failure("this build has no CUDA");
}
}  // namespace

const bool kBuilt = false;
int device_count() noexcept {
  return 0;
}
DeviceDescription describe() {
  throw_absent();
}
void* allocate(size_t) {
  throw_absent();
}
void release(void*) noexcept {}
size_t free_bytes() noexcept {
  return 0;
}
void copy(void*, Device, const void*, Device, size_t) {
  throw_absent();
}
void in_order_of(void*, const std::function<void()>&) {
  throw_absent();
}
LibraryVersions library_versions() {
  return {};
}
std::unique_ptr<Upload::Implementation> make_upload() {
  throw_absent();
}
std::unique_ptr<Recording::Implementation> record(const std::function<void()>&) {
  throw_absent();
}
const Tables& tables() noexcept {
  static const Tables none;
  return none;
}

}  // namespace tidepool::cuda
