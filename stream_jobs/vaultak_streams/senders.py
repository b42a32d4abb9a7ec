"""Whether a message comes from somebody who may speak for its agent: worker and sink look, where keys are required.

An agent's API key covers certain agents; its messages carry a keyed hash (`vaultak.wire.senders`). Without it, or with
that of another agent's key, a message is no action of anybody: it is kept, counted and told, and never judged.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vaultak.config import Settings
from vaultak.wire.senders import KEY_HEADER, MAC_HEADER, mac
from vaultak_streams.gateway.keys import ApiKeys, keys_path

Headers = Sequence[tuple[str, bytes]]


class _Named(msgspec.Struct):
    agent_id: str = ""


_named = msgspec.json.Decoder(_Named)


class Senders:
    """The keys of a deployment, as they are now."""

    def __init__(self, path: Path) -> None:
        self._keys = ApiKeys(path)

    @classmethod
    def required(cls, settings: Settings) -> Senders | None:
        """`None` where anybody whom the broker lets in may send."""
        if not settings.require_keys:
            return None
        return cls(Path(os.environ.get("VAULTAK_GATEWAY_KEYS") or keys_path(settings.data_dir)))

    def objection(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> str:
        """Why nobody vouches for this message; empty when somebody does who may."""
        given = dict(headers)
        key_id = given.get(KEY_HEADER, b"").decode("ascii", "replace")
        if not key_id:
            return "it carries no key's id: its sender has no VAULTAK_API_KEY"
        known = self._keys.by_id(key_id)
        if known is None:
            return f"there is no key `{key_id[:40]}`, or not any more"
        if not known.mac_key:
            return f"key `{key_id}` was made before messages could be vouched for: make another"
        expected = mac(bytes.fromhex(known.mac_key), topic, key or b"", value or b"")
        if not hmac.compare_digest(expected, given.get(MAC_HEADER, b"")):
            return f"it is not what the holder of key `{key_id}` sent"
        agent_id = (key or b"").decode(errors="replace")
        if not known.covers(agent_id):
            return f"key `{key_id}` is not for agent `{agent_id[:80]}`"
        return "" if _agent_in(value) in ("", agent_id) else f"it is of another agent than `{agent_id[:80]}`"


def _agent_in(value: bytes | None) -> str:
    try:
        return _named.decode(value or b"{}").agent_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
