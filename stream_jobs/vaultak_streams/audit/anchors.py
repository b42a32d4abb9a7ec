"""Anchors: the heads of the agents' chains, written down outside the store, so that a chain cut short there shows.

Who can write to the store can delete the end of a chain, or make the chain anew: it stays well-formed. An anchor says
which event an instance had come to, signed with the deployment's Ed25519 key; anchors follow each other by hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vaultak.control.signatures import key_id_of
from vaultak.wire import GENESIS_HASH, Anchor, Head, canonical_json
from vaultak.wire.codec import UNREADABLE
from vaultak_streams.sink.batches import Block


def signed(anchor: Anchor, key: Ed25519PrivateKey) -> Anchor:
    """The anchor with signature and key id."""
    signature = key.sign(_signed_bytes(anchor)).hex()
    return msgspec.structs.replace(anchor, signature=signature, key_id=key_id_of(key.public_key().public_bytes_raw()))


def objection(anchor: Anchor, trusted: Mapping[str, bytes]) -> str:
    """Why this is not an anchor that one of the trusted keys signed; empty when it is."""
    if (public := trusted.get(anchor.key_id)) is None:
        return f"signed by `{anchor.key_id[:32]}`, which is not trusted here"
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(anchor.signature), _signed_bytes(anchor))
    except (InvalidSignature, ValueError):
        return "the signature does not fit"
    return ""


def digest(line: bytes) -> str:
    """What the next anchor names as the one before it: the SHA-256 of the line as written."""
    return hashlib.sha256(line).hexdigest()


FIRST = GENESIS_HASH
"""`prev_hash` of a file's first anchor."""


def heads_of(block: Block) -> dict[tuple[str, str], Head]:
    """The furthest event of each chain in a block of `events_log`, by agent and instance."""
    furthest: dict[tuple[str, str], tuple[int, bytes]] = {}
    for agent_id, instance, seq, value in block.select("agent_id", "instance", "seq", "value"):
        if seq is not None:
            known = furthest.get((agent_id, instance))
            if known is None or known[0] < seq:
                furthest[agent_id, instance] = seq, value
    heads = {}
    for (agent_id, instance), (seq, value) in furthest.items():
        if head_hash := _hash_in(value):
            heads[agent_id, instance] = Head(agent_id, instance, seq, head_hash)
    return heads


class _Hashed(msgspec.Struct):
    hash: str = ""


_hashed = msgspec.json.Decoder(_Hashed)


def _hash_in(value: bytes) -> str:
    try:
        return _hashed.decode(value).hash
    except UNREADABLE:
        return ""


def _signed_bytes(anchor: Anchor) -> bytes:
    return canonical_json(anchor, without=("signature", "key_id"))
