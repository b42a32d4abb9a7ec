"""Pushed policies: unpacked, made ready once for all agents of the process, and chosen by epoch and labels."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import msgspec

from vaultak.errors import PolicyError
from vaultak.policy.rules import CompiledRules, decode_bundle
from vaultak.policy.rules.tree import MAX_BUNDLE_BYTES, Bundle
from vaultak.wire import PolicyRecord

_GZIP = 31  # `wbits` of zlib for gzip


class Pushed(msgspec.Struct, frozen=True):
    """A verified record with its rules, ready to judge."""

    record: PolicyRecord
    rules: CompiledRules

    def concerns(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(name) == value for name, value in self.record.canary.items())


def pack(bundle: Bundle) -> bytes:
    """The bundle as a record carries it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return packer.compress(msgspec.json.encode(bundle)) + packer.flush()


def unpack(record: PolicyRecord) -> Pushed:
    """The record's rules. Raises `PolicyError`: not a bundle, too large once unpacked, or not what its version says."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(record.bundle, MAX_BUNDLE_BYTES + 1)
    except zlib.error as e:
        raise PolicyError(f"policy {record.policy_id}: its bundle cannot be unpacked: {e}") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise PolicyError(f"policy {record.policy_id}: its bundle is cut, or larger than {MAX_BUNDLE_BYTES} bytes")
    rules = CompiledRules(decode_bundle(text))
    if rules.version != record.version:
        raise PolicyError(f"policy {record.policy_id}: it says version {record.version}, its bundle {rules.version}")
    return Pushed(record, rules)


class Shelf:
    """The pushed policies that may count: the newest for everybody, and newer ones for some."""

    def __init__(self) -> None:
        self._all: tuple[Pushed, ...] = ()

    def add(self, pushed: Pushed) -> bool:
        """Keep it if nothing newer makes it void; whether it was kept."""
        epoch = pushed.record.epoch
        general = max((known.record.epoch for known in self._all if not known.record.canary), default=-1)
        if epoch <= general or any(known.record.epoch == epoch for known in self._all):
            return False
        kept = [known for known in self._all if known.record.epoch > epoch or pushed.record.canary]
        self._all = tuple(sorted([*kept, pushed], key=lambda known: -known.record.epoch))[:MAX_KEPT]
        return True

    def for_labels(self, labels: Mapping[str, str]) -> Pushed | None:
        """The newest for an agent with these labels."""
        return next((pushed for pushed in self._all if pushed.concerns(labels)), None)


MAX_KEPT = 64
"""The newest for everybody, and as many canaries on top."""
