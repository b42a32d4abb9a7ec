"""The deployment's signing key: who may command agents. Made at first use, private, with the public half beside it.

`data_dir/keys/control.key` holds the 32-byte Ed25519 seed in hex (0600); `data_dir/keys/trusted/<key_id>.pub` the
public key in hex, which is what agents on this machine trust. `key_id` is the first 16 hex digits of the SHA-256 of the
public key.
"""

from __future__ import annotations

import contextlib
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultak.control.signatures import key_id_of, sign
from vaultak.errors import ConfigurationError
from vaultak.wire import Command, ModelPromotion, PeerSighting, PolicyRecord
from vaultak_devstack.files import write_private

SEED_BYTES = 32


def key_path(data_dir: Path) -> Path:
    return data_dir / "keys" / "control.key"


def trusted_dir(data_dir: Path) -> Path:
    """Public keys that agents on this machine obey, one `<key_id>.pub` each."""
    return data_dir / "keys" / "trusted"


def load_or_create_key(data_dir: Path) -> Ed25519PrivateKey:
    """The signing key of this deployment; of several processes that make it at once, one wins and all use that one.

    Raises `ConfigurationError` when the file is not a key, or others on the machine may read it.
    """
    path = key_path(data_dir)
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            write_private(path, secrets.token_hex(SEED_BYTES).encode(), replace=False)
    key = _read(path)
    _publish(data_dir, key)
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public key: 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def policy_signer(data_dir: Path) -> Callable[[PolicyRecord], PolicyRecord]:
    """A function that returns a policy with this deployment's signature and key id."""
    key = load_or_create_key(data_dir)
    return lambda record: sign(record, key)


def promotion_signer(data_dir: Path) -> Callable[[ModelPromotion], ModelPromotion]:
    """A function that returns a promotion with this deployment's signature and key id."""
    key = load_or_create_key(data_dir)
    return lambda promotion: sign(promotion, key)


def sighting_signer(data_dir: Path) -> Callable[[PeerSighting], PeerSighting]:
    """A function that returns a sighting with this deployment's signature and key id."""
    key = load_or_create_key(data_dir)
    return lambda sighting: sign(sighting, key)


def command_signer(data_dir: Path) -> Callable[[Command], Command]:
    """A function that returns a command with this deployment's signature and key id."""

    key = load_or_create_key(data_dir)
    return lambda command: sign(command, key)


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"`{path}` can be read by others on this machine; run `chmod 600 {path}`")
        seed = bytes.fromhex(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationError(f"cannot read the signing key `{path}`: {e}") from None
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise ConfigurationError(
            f"`{path}` is not a signing key (64 hex digits); restore it, or remove it for a new one"
        )
    return Ed25519PrivateKey.from_private_bytes(seed)


def _publish(data_dir: Path, key: Ed25519PrivateKey) -> None:
    public = key.public_key().public_bytes_raw()
    path = trusted_dir(data_dir) / f"{key_id_of(public)}.pub"
    if not path.exists():
        write_private(path, public.hex().encode())
