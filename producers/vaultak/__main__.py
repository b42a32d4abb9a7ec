"""The `vaultak` command. It lives in the pipeline, but for `run` and `mcp-proxy`; the SDK says how to get the rest."""

from __future__ import annotations

import importlib.util
import sys


def main() -> int:
    if sys.argv[1:2] == ["run"]:
        from vaultak.run import main as run

        return run(sys.argv[2:])
    if sys.argv[1:2] == ["mcp-proxy"]:
        from vaultak.mcp_proxy import main as proxy

        return proxy(sys.argv[2:])
    if importlib.util.find_spec("vaultak_streams") is None or importlib.util.find_spec("typer") is None:
        sys.stderr.write(
            "vaultak: the command line needs the pipeline; install it with: pip install 'vaultak[pipeline]'\n"
        )
        return 2
    cli = importlib.import_module("vaultak_streams.cli.app")
    return int(cli.main())


if __name__ == "__main__":
    sys.exit(main())
