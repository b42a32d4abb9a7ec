"""API keys: who may speak for which agents, over HTTP and on Kafka. A private file with digests and hashing keys; a key
itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from pathlib import Path

import msgspec

from vaultak.errors import ConfigurationError, VaultakError
from vaultak.wire import format_ts
from vaultak.wire.codec import UNREADABLE
from vaultak.wire.senders import API_KEY, mac_key_of
from vaultak_devstack.files import write_private

PREFIX = "vtk"
MAX_KEYS = 10_000
MAX_FILE_BYTES = 8 * 1024 * 1024
LOOK_EVERY_S = 1.0
"""How soon a key that was added or revoked counts."""

_PATTERN = re.compile(r"[^*\x00-\x1f]{1,256}|[^*\x00-\x1f]{0,255}\*")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key. `agents`: ids, or beginnings of ids with a `*` at the end."""

    key_id: str
    sha256: str
    agents: tuple[str, ...]
    created: str
    note: str = ""
    mac_key: str = ""
    """What its holder's messages on Kafka are vouched for with, in hex. Secret, as the file is."""

    def covers(self, agent_id: str) -> bool:
        """Whether its holder may speak for this agent."""
        return any(
            agent_id.startswith(pattern[:-1]) if pattern.endswith("*") else agent_id == pattern
            for pattern in self.agents
        )


class ApiKeys:
    """The keys of a file, as they are now. Thread-safe enough for one reader per process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_s = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def verify(self, text: str) -> ApiKey | None:
        """The key that this is; `None` for anything else, found out in constant time."""
        match = API_KEY.fullmatch(text)
        if match is None:
            return None
        self._look()
        key = self._keys.get(match[1])
        known = key.sha256 if key else "0" * 64
        return key if hmac.compare_digest(digest(text), known) else None

    def by_id(self, key_id: str) -> ApiKey | None:
        """The key of this id, if there is one. That somebody names it proves nothing."""
        self._look()
        return self._keys.get(key_id)

    def all(self) -> list[ApiKey]:
        """Raises `VaultakError` when the file cannot be read."""
        self._load()
        return list(self._keys.values())

    def add(self, agents: list[str], note: str = "") -> tuple[ApiKey, str]:
        """Make a key; returns it and its text, which is nowhere else. Raises `ConfigurationError`."""
        for pattern in agents:
            if not _PATTERN.fullmatch(pattern):
                raise ConfigurationError(
                    f"`{pattern[:60]}` is no agent id, nor the beginning of one with a `*` behind it"
                )
        self._load()
        if not agents or len(self._keys) >= MAX_KEYS:
            raise ConfigurationError("name at least one agent" if not agents else f"there are {MAX_KEYS} keys already")
        key_id = secrets.token_hex(6)
        text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
        created = format_ts(time.time())
        key = ApiKey(
            key_id=key_id,
            sha256=digest(text),
            agents=tuple(agents),
            created=created,
            note=note[:200],
            mac_key=mac_key_of(text).hex(),
        )
        self._save({**self._keys, key_id: key})
        return key, text

    def revoke(self, key_id: str) -> None:
        """Raises `ConfigurationError` when there is none."""
        self._load()
        if key_id not in self._keys:
            raise ConfigurationError(f"no key `{key_id[:40]}` in `{self._path}`")
        self._save({known: key for known, key in self._keys.items() if known != key_id})

    def _save(self, keys: dict[str, ApiKey]) -> None:
        write_private(self._path, msgspec.json.format(msgspec.json.encode(list(keys.values()))) + b"\n")
        self._keys, self._stamp = keys, None

    def _look(self) -> None:
        """Read the file again if it changed. One that cannot be read lets nobody in."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            self._load()
        except VaultakError:
            self._keys, self._stamp = {}, None

    def _load(self) -> None:
        try:
            with self._path.open("rb") as file:
                stat = self._path.stat()
                stamp = (stat.st_mtime_ns, stat.st_ino)
                if stamp == self._stamp:
                    return
                keys = msgspec.json.decode(file.read(MAX_FILE_BYTES), type=list[ApiKey])
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
        except (OSError, *UNREADABLE) as e:
            raise VaultakError(f"cannot read the keys in `{self._path}`: {e}") from None
        else:
            self._keys, self._stamp = {key.key_id: key for key in keys}, stamp


def digest(text: str) -> str:
    """SHA-256: a key has 256 random bits, which no dictionary holds."""
    return hashlib.sha256(text.encode()).hexdigest()


def keys_path(data_dir: Path) -> Path:
    return data_dir / "gateway" / "keys.json"
