"""The command `vaultak mcp-proxy`: with the light SDK alone; in front of a URL with `vaultak[mcp-proxy]`."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from typing import cast

from vaultak.errors import ConfigurationError
from vaultak.mcp_proxy.pins import Pins, forget, pins_file

NOT_FOUND, NOT_RUNNABLE = 127, 126
CLOSE_S = 0.5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vaultak mcp-proxy",
        description="Any MCP server behind the guard: each tool call is judged before the server gets it.",
        usage="vaultak mcp-proxy [OPTIONS] -- COMMAND [ARGS...]\n       vaultak mcp-proxy [OPTIONS] --url URL",
    )
    parser.add_argument("--agent-id", default="", help="the agent's id (default: mcp-<the server's name>)")
    parser.add_argument("--policy", help="a policy file (default: VAULTAK_POLICY)")
    parser.add_argument("--mode", choices=("alert", "pause", "block", "rollback", "kill"), help="what a limit does")
    parser.add_argument("--block", action="append", default=[], metavar="PATTERN", help="such as tool:delete_*")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PATTERN", help="all other resources are denied"
    )
    parser.add_argument(
        "--on-change",
        choices=("allow", "alert", "block"),
        default="block",
        help="when a tool's description or schema is not what it was when it was first seen (default: block)",
    )
    parser.add_argument("--accept", action="store_true", help="take the tools as they are now")
    parser.add_argument("--url", help="a server's address (streamable HTTP) instead of a command")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where to serve, with --url")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND [ARGS...]")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the server's exit code, 2 for a wrong call."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as e:
        return int(e.code or 0)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if bool(command) == bool(options.url):
        sys.stderr.write("vaultak mcp-proxy: either a server's command behind `--`, or its `--url`\n")
        return 2
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="vaultak mcp-proxy: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the SDK says once what it says again and again
    try:
        return _run(options, command)
    except FileNotFoundError as e:
        sys.stderr.write(f"vaultak mcp-proxy: no program `{e.filename}`\n")
        return NOT_FOUND
    except ConfigurationError as e:
        sys.stderr.write(f"vaultak mcp-proxy: {e}\n")
        return 2
    except OSError as e:
        sys.stderr.write(f"vaultak mcp-proxy: {e}\n")
        return NOT_RUNNABLE
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, command: list[str]) -> int:
    from vaultak.client import Vaultak
    from vaultak.config import Settings
    from vaultak.mcp_proxy.gate import Gate, OnChange

    if command and shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, "no such program", command[0])
    at = None
    if options.url:
        from vaultak.mcp_proxy.http import checked, serve_http

        at = checked(options.url, options.listen)
    server = options.url or " ".join(command)
    path = pins_file(Settings.from_env().data_dir, server)
    if options.accept:
        forget(path)
    pins = Pins(path, server)
    if options.policy:
        os.environ["VAULTAK_POLICY"] = options.policy
    vt = Vaultak(blocked_resources=options.block or None, allowed_resources=options.allow or None, mode=options.mode)
    try:
        gate = Gate(vt, options.agent_id or _name(server), pins, cast(OnChange, options.on_change))
        if at is not None:
            return serve_http(options.url, *at, gate)
        from vaultak.mcp_proxy.stdio import serve

        return asyncio.run(serve(command, gate))
    finally:
        vt.close(CLOSE_S)


def _name(server: str) -> str:
    """`mcp-` and the server's program, or its host."""
    first = server.split("://")[-1].split()[0].rstrip("/")
    return f"mcp-{(first.split('/')[0] if '://' in server else os.path.basename(first))[:200]}"
