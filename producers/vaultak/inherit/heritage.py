"""What a parent hands down to its children: a file that only its user can read, and where it is."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.errors import VaultakError
from vaultak.terms import Terms
from vaultak.wire.codec import UNREADABLE

VARIABLE = "VAULTAK_INHERIT"
"""`<SHA-256 of the file, hex>:<its path>`: a file that was exchanged is not obeyed."""

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")
"""The directory of our `sitecustomize`; first on the child's `PYTHONPATH`."""

MAX_BYTES = 4 * 1024 * 1024
KEPT_S = 7 * 24 * 3600
"""Files older than this that nobody has handed down since are removed."""

_NEEDED = ("vaultak", "msgspec", "wrapt", "re2", "aiokafka", "cryptography")


class Heritage(Terms, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a child goes on as its parent's agent."""

    floor: str = "off"
    sources: tuple[str, ...] = ()
    """Directories that the SDK and what it needs are imported from, where the child has none of its own."""


def sources() -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            directory = os.path.dirname(os.path.abspath(spec.origin))
            found[os.path.dirname(directory) if spec.submodule_search_locations else directory] = None
    return tuple(found)


def hand_down(heritage: Heritage, directory: Path) -> str:
    """Write the file (the same content is the same file) and return the variable's value. Raises `OSError`."""
    data = msgspec.json.encode(heritage)
    digest = hashlib.sha256(data).hexdigest()
    path = directory.absolute() / f"{digest[:32]}.json"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        os.utime(path)
    else:
        _forget_old(directory)
        temporary = path.with_suffix(f".{os.getpid()}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    return f"{digest}:{path}"


def _forget_old(directory: Path) -> None:
    for path in directory.glob("*.json"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT_S:
                path.unlink()


def take_over(value: str) -> Heritage:
    """What was handed down. Raises `VaultakError` where it is missing, changed or not understood."""
    digest, _, name = value.partition(":")
    try:
        with open(name, "rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as e:
        raise VaultakError(f"cannot read what the parent handed down: {e}") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise VaultakError(f"`{name}` is not what the parent handed down")
    try:
        return msgspec.json.decode(data, type=Heritage)
    except UNREADABLE as e:
        raise VaultakError(f"`{name}` is not understood: {e}") from None


def environment(value: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child, on top of the one it is to have; `None`: this process's."""
    result = dict(os.environ if given is None else given)
    result[VARIABLE] = value
    ahead = [SITE, *(part for part in result.get("PYTHONPATH", "").split(os.pathsep) if part and part != SITE)]
    result["PYTHONPATH"] = os.pathsep.join(ahead)
    return result
