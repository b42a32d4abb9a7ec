"""The `vaultak` command. It lives in the pipeline; the light SDK says how to get it."""

from __future__ import annotations

import importlib.util
import sys


def main() -> int:
    if importlib.util.find_spec("vaultak_streams") is None or importlib.util.find_spec("typer") is None:
        sys.stderr.write(
            "vaultak: the command line needs the pipeline; install it with: pip install 'vaultak[pipeline]'\n"
        )
        return 2
    cli = importlib.import_module("vaultak_streams.cli.app")
    return int(cli.main())


if __name__ == "__main__":
    sys.exit(main())
