"""What each tool of a server said of itself when it was first seen. A server that changes it later is found out.

A model does what a tool's description says. One that was reviewed and then replaced ("rug pull") is another tool.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaultak.errors import ConfigurationError

log = logging.getLogger("vaultak.mcp")

MAX_TOOLS = 10_000


class Pins:
    """Durable: a file for each server. Raises `ConfigurationError` for a file that is none of ours."""

    def __init__(self, path: Path, server: str) -> None:
        self.path = path
        self._server = server
        self._known = self._load()

    def changed(self, tools: Iterable[dict[str, Any]]) -> list[str]:
        """Names of tools that are not what they were; those that are new are remembered.

        Where they cannot be written (a full disk), for as long as this lives: logged, and what changed is still found.
        """
        changed, before = [], len(self._known)
        for tool in tools:
            name, digest = str(tool.get("name", "")), digest_of(tool)
            known = self._known.get(name)
            if known is None and len(self._known) < MAX_TOOLS:
                self._known[name] = digest
            elif known != digest:
                changed.append(name)
        if len(self._known) != before:
            try:
                self._save()
            except OSError as e:
                log.error("what the tools say of themselves cannot be kept: %s", e)
        return changed

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_bytes())
            return {str(name): str(digest) for name, digest in found["tools"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as e:
            raise ConfigurationError(f"`{self.path}` cannot be used ({e}); `--accept` starts it anew") from None

    def _save(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"server": self._server, "saved_at": int(time.time()), "tools": self._known}, indent=1)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def digest_of(tool: dict[str, Any]) -> str:
    """Of all that a tool says of itself: description, schemas, annotations."""
    said = {name: value for name, value in tool.items() if name != "_meta"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def pins_file(data_dir: Path, server: str) -> Path:
    """The file of a server, which is named by its command or its URL."""
    return data_dir / "mcp" / f"{hashlib.sha256(server.encode('utf-8', 'replace')).hexdigest()[:16]}.json"


def forget(path: Path) -> None:
    """What the server says next is what is accepted."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
