"""Accounts with passwords: a file of `name:role:scrypt hash`, one a line, for those who do not sign in elsewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vaultak.errors import ConfigurationError
from vaultak_devstack.files import write_private
from vaultak_streams.console.operators import MAX_NAME_CHARS, Role

# OWASP's password storage recommendation for scrypt: N=2^17, r=8, p=1, 128 MiB a hash.
_COST, _BLOCK, _PARALLEL = 1 << 17, 8, 1
_MEMORY_BYTES = 256 << 20
MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,119}")


class Account(msgspec.Struct, frozen=True):
    name: str
    role: Role
    hashed: str


class Accounts:
    """The accounts of a file, read again whenever it has changed: a removed account is out at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] = (0, 0)
        self._accounts: dict[str, Account] = {}
        self._nobody = hash_password(secrets.token_urlsafe(24))
        self._refresh()

    def check(self, name: str, password: str) -> Account | None:
        """The account, if the password is its own. Takes as long for a name that does not exist (about 0.3 s)."""
        self._refresh()
        account = self._accounts.get(name[:MAX_NAME_CHARS])
        matches = matches_hash(password[:MAX_PASSWORD_CHARS], account.hashed if account else self._nobody)
        return account if matches and account else None

    def role_of(self, name: str) -> Role | None:
        """The role an account has now; `None` when there is none any more."""
        self._refresh()
        account = self._accounts.get(name)
        return account.role if account else None

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            if (seen := (stat.st_mtime_ns, stat.st_size)) != self._seen:
                self._accounts = {account.name: account for account in _parse(self._path)}
                self._seen = seen
        except OSError as e:
            self._accounts, self._seen = {}, (0, 0)
            raise ConfigurationError(f"cannot read the accounts in `{self._path}`: {e.strerror}") from None


def add_account(path: Path, name: str, role: Role, password: str) -> None:
    """Put an account into the file, or change it. Raises `ConfigurationError` for a name or password that won't do."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"`{name[:40]}` is not a name: letters, digits and `._@+-`, 120 characters at most")
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise ConfigurationError(f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")
    kept = [account for account in _parse(path) if account.name != name] if path.exists() else []
    lines = [f"{account.name}:{account.role}:{account.hashed}\n" for account in kept]
    lines.append(f"{name}:{role}:{hash_password(password)}\n")
    write_private(path, "".join(lines).encode())


def hash_password(password: str) -> str:
    """`scrypt$N$r$p$salt$key`, salt and key in base64."""
    salt = secrets.token_bytes(16)
    key = _scrypt(password, salt, _COST, _BLOCK, _PARALLEL)
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), _text(salt), _text(key)))


def matches_hash(password: str, hashed: str) -> bool:
    """Whether this is the password that was hashed; compared in constant time."""
    try:
        kind, cost, block, parallel, salt, key = hashed.split("$")
        computed = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
        return kind == "scrypt" and hmac.compare_digest(computed, base64.b64decode(key))
    except (ValueError, TypeError):
        return False


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _parse(path: Path) -> Iterator[Account]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        role, _, hashed = rest.partition(":")
        if not _NAME.fullmatch(name) or role not in set(Role) or not hashed.startswith("scrypt$"):
            raise ConfigurationError(f"`{path}`, line {number}: not `name:role:hash`")
        yield Account(name, Role(role), hashed)
