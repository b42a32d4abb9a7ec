"""Commands of `os.system`, which gives no way to hand an environment to the shell: the command sets it first."""

from __future__ import annotations

import os
import shlex

from vaultak.inherit.heritage import VARIABLE, environment

_BEGIN = f"export {VARIABLE}="
_END = ";"


def with_heritage(value: str, command: str) -> str:
    ahead = environment(value)["PYTHONPATH"]
    return f"{_BEGIN}{shlex.quote(value)} PYTHONPATH={shlex.quote(ahead)}{_END}{os.linesep}{command}"


def without_heritage(command: str) -> str:
    """The command as it was given."""
    return command.partition(_END + os.linesep)[2] if command.startswith(_BEGIN) else command
