"""`vaultak run -- COMMAND`: any program as an agent, with no change to its code."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from vaultak.errors import ConfigurationError, VaultakError
from vaultak.inherit import environment, pythons

if TYPE_CHECKING:
    from vaultak.client import Vaultak
    from vaultak.floor.monitor import Floor

NOT_FOUND, NOT_RUNNABLE, SIGNALLED = 127, 126, 128
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_LEFT_TO_THE_PROGRAM = (signal.SIGINT, signal.SIGQUIT)
_DEFAULT_AGENT = "run"
CLOSE_S = 0.5
"""How long to wait for the broker once the program is over; what is left is delivered by the next process."""


def run(
    argv: Sequence[str],
    *,
    client: Vaultak,
    agent_id: str,
    session_id: str | None = None,
    labels: dict[str, str] | None = None,
    task: str = "",
    floor: Floor = "off",
) -> int:
    """Run a program as an agent and return its exit code: 128 + n for signal n, 127 where there is no such program.

    A Python program is monitored from its first line, and so are its Python children; with `floor` its system calls
    and those of all other programs are judged too. Another program runs under the floor alone. `task` is what the
    agent was asked, the trusted text that arguments are traced to. Raises `VaultakError` for a program that could not
    be monitored: it has not been started then.
    """
    program = shutil.which(argv[0])
    if program is None:
        sys.stderr.write(f"vaultak: no program `{argv[0]}`\n")
        return NOT_FOUND
    command = _python_command(program, argv)
    if command is None and floor == "off":
        raise VaultakError(f"`{argv[0]}` is no Python program: only the floor can monitor it; add `--floor auto`")
    if command is not None and (flag := pythons.shuts_out(command[0], command)):
        raise VaultakError(f"`{argv[0]}` starts Python with `{flag}`, which keeps the monitor out; leave it away")
    monitor = client.monitor(agent_id, session_id=session_id, labels=labels, intercept=False)
    if task:
        monitor.context(task)
    if command is None:
        return _under_floor(argv, client, agent_id, monitor.session_id, monitor.labels)
    handed = client.hand_down(agent_id, monitor.session_id, monitor.labels, floor=floor)
    with _signals_left_to_it() as started:
        process = subprocess.Popen(command, env=environment(handed))  # noqa: S603 - what the user asked for
        started.append(process)
        code = process.wait()
    return code if code >= 0 else SIGNALLED - code


def _python_command(program: str, argv: Sequence[str]) -> list[str] | None:
    """The command of a Python program: an interpreter, a script that names one, a `.py` file; `None` for any other."""
    if pythons.is_python(program):
        return [program, *argv[1:]]
    words = pythons.script_interpreter(program)
    if words and pythons.is_python(words[0]):
        return [program, *argv[1:]]
    return None


def _under_floor(argv: Sequence[str], client: Vaultak, agent_id: str, session_id: str, labels: dict[str, str]) -> int:
    from vaultak.floor import run_under_floor

    return run_under_floor(argv, client=client, agent_id=agent_id, session_id=session_id, labels=labels)


@contextmanager
def _signals_left_to_it() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Signals to us are the program's: those of a terminal reach it by themselves, the others are passed on."""
    started: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: Any) -> None:
        for process in started:
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    before |= {number: signal.signal(number, lambda *_: None) for number in _LEFT_TO_THE_PROGRAM}
    try:
        yield started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vaultak run",
        description="Run any program as an agent: every action judged, recorded, undoable. No change to its code.",
        usage="vaultak run [OPTIONS] -- COMMAND [ARGS...]",
    )
    parser.add_argument("--agent-id", default="", help="the agent's id (default: the program's name)")
    parser.add_argument("--session-id", help="the session's id (default: a new one)")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    parser.add_argument("--task", default="", help="what the agent was asked: trusted text")
    parser.add_argument("--policy", help="a policy file (default: VAULTAK_POLICY)")
    parser.add_argument("--mode", choices=("alert", "pause", "block", "rollback", "kill"), help="what a limit does")
    parser.add_argument("--block", action="append", default=[], metavar="PATTERN", help="a resource pattern to block")
    parser.add_argument("--allow", action="append", default=[], metavar="PATTERN", help="a resource pattern to allow")
    parser.add_argument(
        "--floor",
        choices=("off", "auto", "require"),
        default="off",
        help="judge system calls too (Linux); needed for programs that are not Python",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND [ARGS...]")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the program's exit code, 2 for a wrong call."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as e:
        return int(e.code or 0)
    argv = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not argv:
        sys.stderr.write("vaultak run: no command; put it behind `--`: vaultak run -- python agent.py\n")
        return 2
    try:
        return _run(options, argv)
    except ConfigurationError as e:
        sys.stderr.write(f"vaultak run: {e}\n")
        return 2
    except (VaultakError, OSError) as e:
        sys.stderr.write(f"vaultak run: {e}\n")
        return NOT_RUNNABLE


def _run(options: argparse.Namespace, argv: list[str]) -> int:
    from vaultak.client import Vaultak

    labels = dict(_label(text) for text in options.label)
    if options.policy:
        os.environ["VAULTAK_POLICY"] = options.policy
    client = Vaultak(
        blocked_resources=options.block or None,
        allowed_resources=options.allow or None,
        mode=options.mode,
    )
    try:
        return run(
            argv,
            client=client,
            agent_id=options.agent_id or os.path.basename(argv[0]) or _DEFAULT_AGENT,
            session_id=options.session_id,
            labels=labels,
            task=options.task,
            floor=cast("Floor", options.floor),
        )
    finally:
        client.close(CLOSE_S)


def _label(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigurationError(f"--label: `{text[:80]}` is not NAME=VALUE")
    return name, value
