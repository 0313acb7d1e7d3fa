// The program. Commands register themselves: see tools/command.h.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "tools/command.h"
#include "tools/spinning.h"

namespace {

// A standard stream that is closed would give its number to the next file that is opened, and its text with it.
void hold_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
        open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)  // stdout stays unwritable, which is said
      _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  hold_standard_streams();
  const tidepool::SpinLimiter limiter;
  return tidepool::run_command_line(argc, argv);
}
