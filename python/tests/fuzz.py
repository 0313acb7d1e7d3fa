"""python python/tests/fuzz.py SECONDS [FIRST_SEED]: calls with random arguments until the time is over; a crash names its
seed, since each is written to fuzz_seed before it runs."""

import pathlib
import sys
import time

from test_bad_input import fuzz_once


def main():
    end, seed, counts = time.monotonic() + float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000, {}
    at = pathlib.Path("fuzz_seed")
    while time.monotonic() < end:
        at.write_text(str(seed))
        outcome = fuzz_once(seed)
        counts[outcome] = counts.get(outcome, 0) + 1
        seed += 1
    at.unlink()
    print(counts)


if __name__ == "__main__":
    main()
