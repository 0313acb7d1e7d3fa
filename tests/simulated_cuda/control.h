// What a test says to the simulated device, and asks it. The device stands in for a GPU and for the CUDA runtime:
// streams run as late as they may, in an order drawn from a seed; memory of the device has no access for the host and
// is never used again once it is freed; fresh memory is NaN.
#pragma once
#include <driver_types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace simulated {

struct Counts {
  int64_t calls = 0;                   ///< of runtime and libraries that may fail
  int64_t launches = 0;                ///< of kernels
  int64_t threads = 0;                 ///< of those kernels
  int64_t executions = 0;              ///< of work of libraries
  int64_t recorded = 0, replays = 0;   ///< launches and executions into graphs, and launches of these
  int64_t allocations = 0, frees = 0;  ///< of memory, on the device or pinned
  int64_t synchronisations = 0;        ///< of the host with a stream or the device; copies and frees that wait too
  int64_t event_waits = 0;             ///< of the host
  int64_t copies = 0, pageable_copies = 0;
  int64_t bytes_to_device = 0, bytes_to_host = 0, bytes_on_device = 0;
  int64_t bytes_read = 0, bytes_written = 0;  ///< by kernels, once each a kernel, while count_traffic(true)
  double seconds = 0;                         ///< that the host spent being the device
  int64_t suspicious =
      0;  ///< words within structs that kernels were given that look like pointers to the host's memory
};
const Counts& counts();
void reset_counts();

/// From now on the order is the seed's.
void set_seed(uint32_t seed);
/// Bytes that the device can hand out.
void set_memory(size_t bytes);
/// Runs what is in the streams.
void drain();

/// Whether bytes_read and bytes_written are counted from now on; false: not in this build (a sanitizer's).
bool count_traffic(bool on);

/// The n-th call from now that may fail does (1: the next); 0: none does.
void fail_call(int64_t n);
/// Whether it has come to that.
bool has_failed();

// Mutations: what a program does is left out, though it is told that it was done.
enum class Act { stream_wait, copy, barrier };
/// How many of them there have been since reset_counts(); of barriers, the places where one stands.
int64_t count_of(Act act);
/// The n-th of them (0: the first) since reset_counts() is left out; of barriers, all at the n-th place. n = -1: none.
void leave_out(Act act, int64_t n);

}  // namespace simulated
