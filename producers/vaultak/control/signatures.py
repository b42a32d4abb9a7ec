"""Ed25519 over the canonical JSON of a command, policy or promotion without `signature` and `key_id`; whom to trust.

A key's id is the first 16 hex digits of the SHA-256 of its public half. Public keys come from
`VAULTAK_CONTROL_PUBLIC_KEYS` (hex, or `key_id:hex`, separated by commas) or from `keys/trusted/*.pub` in the data
directory. Nothing that is not signed by one of them is obeyed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from vaultak.errors import ConfigurationError
from vaultak.wire import Command, ModelPromotion, PeerSighting, PolicyRecord, canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

log = logging.getLogger("vaultak.control")

Signed = TypeVar("Signed", Command, PolicyRecord, ModelPromotion, PeerSighting)
Message = Command | PolicyRecord | ModelPromotion | PeerSighting
_VARIABLE = "VAULTAK_CONTROL_PUBLIC_KEYS"


def load_cryptography() -> None:
    """Import what verifying needs and use it once: tens of milliseconds that the first command would otherwise wait."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    with contextlib.suppress(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(bytes(32)).verify(bytes(64), b"")


def key_id_of(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()[:16]


def signed_bytes(message: Message) -> bytes:
    return canonical_json(message, without=("signature", "key_id"))


def sign(message: Signed, private_key: Ed25519PrivateKey) -> Signed:
    """The message with `signature` (hex) and `key_id`. Deterministic."""
    public = private_key.public_key().public_bytes_raw()
    signature = private_key.sign(signed_bytes(message)).hex()
    return msgspec.structs.replace(message, signature=signature, key_id=key_id_of(public))


def verify(message: Message, trusted: Mapping[str, bytes]) -> str:
    """Empty when a trusted key signed exactly this message; else the reason why not."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not message.signature:
        return "not signed"
    if (public := trusted.get(message.key_id)) is None:
        return f"key `{message.key_id[:32]}` is not trusted here"
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(message.signature), signed_bytes(message))
    except (InvalidSignature, ValueError):
        return "the signature does not fit"
    return ""


class TrustStore:
    """Public keys by id. Keys that come to the directory later, and those that go, count from the next message on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._passed_over: set[Path] = set()
        self._seen = self._change()
        self.keys = self._load()

    def verify(self, message: Message) -> str:
        """Empty when the message is to be obeyed as far as its signature goes; else the reason."""
        if (change := self._change()) != self._seen or message.key_id not in self.keys:
            self._seen, self.keys = change, self._load()
        return verify(message, self.keys)

    def _change(self) -> int:
        """When the directory last got or lost a file, in ns; 0 when there is none."""
        try:
            return (self._directory / "trusted").stat().st_mtime_ns
        except OSError:
            return 0

    def _load(self) -> dict[str, bytes]:
        if listed := os.environ.get(_VARIABLE, "").strip():
            return dict(_parse(entry, _VARIABLE) for entry in listed.split(",") if entry.strip())
        return dict(self._from_directory())

    def _from_directory(self) -> Iterable[tuple[str, bytes]]:
        """The readable keys. One that is malformed is passed over, said once: it must not disable the others."""
        try:
            files = sorted((self._directory / "trusted").glob("*.pub"))
        except OSError:
            return
        for path in files:
            try:
                yield _parse(path.read_text(), str(path))
            except (OSError, UnicodeDecodeError, ConfigurationError) as e:
                if path not in self._passed_over:
                    self._passed_over.add(path)
                    log.error("the trusted key `%s` is passed over: %s", path, e)


def _parse(entry: str, where: str) -> tuple[str, bytes]:
    name, _, text = entry.strip().rpartition(":")
    try:
        public = bytes.fromhex(text)
    except ValueError:
        public = b""
    if len(public) != 32 or (name and name != key_id_of(public)):
        raise ConfigurationError(f"{where}: `{entry.strip()[:24]}...` is not an Ed25519 public key (64 hex digits)")
    return key_id_of(public), public
