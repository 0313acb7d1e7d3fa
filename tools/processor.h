// The instructions that this program was compiled with.
#pragma once

namespace tidepool {

/// One of them, as glibc numbers it (sys/platform/x86.h).
struct ProcessorFeature {
  const char* name;
  unsigned index;
};
/// Those that a processor of the same kind may lack; a null name ends them.
extern const ProcessorFeature kCompiledFeatures[];

}  // namespace tidepool
