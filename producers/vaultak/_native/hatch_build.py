"""Builds the compiled core along with the package where there is a C compiler; never fails a build without one."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FLAGS = ("-O2", "-fPIC", "-fvisibility=hidden")
_LINKING = ("-bundle", "-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-shared",)


def compile_core(directory: Path) -> Path | None:
    """Compile `_core.c` in its own directory for the running Python. `None`, with the reason printed, if it cannot be.

    The file appears at once and whole: another process may be importing it.
    """
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    if os.environ.get("VAULTAK_PURE_PYTHON") or sys.implementation.name != "cpython" or not suffix:
        return None
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    built, target = directory / f".building-{os.getpid()}", directory / f"_core{suffix}"
    include = f"-I{sysconfig.get_path('include')}"
    command = [*compiler, *_FLAGS, include, *_LINKING, str(directory / "_core.c"), "-o", str(built)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
        if done.returncode == 0:
            built.replace(target)
            return target
        why = (done.stderr.strip().splitlines() or ["no reason given"])[0]
    except (OSError, subprocess.TimeoutExpired) as e:
        why = str(e)
    finally:
        built.unlink(missing_ok=True)
    print(f"vaultak: without the compiled core, which could not be built: {why}", file=sys.stderr)  # noqa: T201
    return None


class CoreBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the core to the wheel, and the platform to its name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        core = compile_core(Path(self.root) / "producers" / "vaultak" / "_native")
        if core is not None:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(str(core.relative_to(self.root)))
