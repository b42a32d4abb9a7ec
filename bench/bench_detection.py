"""What is detected with the default configuration, one model for all.

`python -m bench detection` prints three tables: recordings of real agents (from `VAULTAK_EVAL_DIR`, or `../shared/eval`
beside the repository) by their own `score.py`; a simulated fleet under eight kinds of attack; public sets of outliers.
`python -m bench.bench_detection --half developing|other` scores a half of the recorded sessions, by a hash of their
ids: what is chosen while looking at one is to be measured on the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.detection import episodes, public_sets, recordings


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bench_detection")
    parser.add_argument("sets", nargs="*", help="names of recorded sets, `fleet`, `public`; none: all")
    parser.add_argument("--half", choices=(recordings.ALL, *recordings.HALVES), default=recordings.ALL)
    options = parser.parse_args(arguments)
    wanted = set(options.sets)
    if names := wanted - {"fleet", "public"} or not wanted:
        recordings.report(tuple(names) if wanted else (), options.half)
    if not wanted or "fleet" in wanted:
        episodes.report()
    if not wanted or "public" in wanted:
        public_sets.report()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
