"""Who sends a message: a keyed hash over it, by a key that an API key gives. The API key itself never travels.

A receiver that knows the key's id, its hashing key and the agents it is for can tell that nobody else sent it, and that
it is whole. Two headers: `vaultak_key` (the id) and `vaultak_mac` (HMAC-SHA256, 32 bytes).
"""

from __future__ import annotations

import hashlib
import hmac
import re

KEY_HEADER, MAC_HEADER = "vaultak_key", "vaultak_mac"

API_KEY = re.compile(r"vtk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
"""Id and secret of an API key."""

_PURPOSE = b"vaultak message sender, 1"


def mac_key_of(api_key: str) -> bytes:
    """What messages are hashed with: whoever has it can send as the key's agents, but not use the key elsewhere."""
    return hmac.digest(api_key.encode(), _PURPOSE, "sha256")


def mac(mac_key: bytes, topic: str, key: bytes, value: bytes) -> bytes:
    """The keyed hash of a message, 32 bytes."""
    name = topic.encode()
    lengths = b"%d %d %d " % (len(name), len(key), len(value))
    return hmac.digest(mac_key, lengths + name + key + value, hashlib.sha256)


class Sender:
    """Vouches for messages with one API key."""

    def __init__(self, key_id: str, mac_key: bytes) -> None:
        self._id, self._mac_key = key_id.encode(), mac_key

    @classmethod
    def of(cls, api_key: str | None) -> Sender | None:
        """`None` for no key, and for text that is no key of a Vaultak deployment."""
        match = API_KEY.fullmatch(api_key or "")
        return None if match is None else cls(match[1], mac_key_of(match[0]))

    def headers(self, topic: str, key: bytes, value: bytes) -> list[tuple[str, bytes]]:
        return [(KEY_HEADER, self._id), (MAC_HEADER, mac(self._mac_key, topic, key, value))]
