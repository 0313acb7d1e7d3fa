// The program. Commands register themselves: see tools/command.h.
#include "tools/command.h"

int main(int argc, char** argv) {
  return tidepool::run_command_line(argc, argv);
}
