// For who may call backward again on what was recorded once, as PyTorch's retain_graph does.
#pragma once

namespace tidepool {

/// While one lives on a thread, Tape::backward there leaves its tape as it was. What was kept for the backward is then
/// held until the tape itself goes.
class KeepTapes {
 public:
  KeepTapes();
  ~KeepTapes();
  KeepTapes(const KeepTapes&) = delete;
  KeepTapes& operator=(const KeepTapes&) = delete;

 private:
  bool outer_;
};

}  // namespace tidepool
