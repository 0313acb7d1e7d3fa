// Ends the program where the processor lacks an instruction that it was compiled with, in words and not by a signal.
// Compiled for the least of its kind, and run before anything that is not.
#include "tools/processor.h"

#if defined(__x86_64__) && __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#include <unistd.h>
#include <cstring>

namespace tidepool {
namespace {

void say(const char* text) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, strlen(text));
}

// Before every other constructor of the program (0 to 100 are the compiler's).
__attribute__((constructor(101))) void expect_processor() {
  bool lacks = false;
  for (const ProcessorFeature* f = kCompiledFeatures; f->name; ++f) {
    if (x86_cpu_active(f->index)) continue;
    say(lacks ? ", " : "tidepool: this program was compiled for another processor; this one lacks ");
    say(f->name);
    lacks = true;
  }
  if (!lacks) return;
  say("\nhint: build it on this machine (./tools/build), or for every x86-64 machine with -DTIDEPOOL_PORTABLE=ON\n");
  _exit(1);
}

}  // namespace
}  // namespace tidepool
#endif
