"""`tidepool` and `python -m tidepool`: the program."""

import os
import sys

from .run import program


def main():
    path = program()
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    main()
