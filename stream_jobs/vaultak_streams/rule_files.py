"""Rules from files: YAML in Sigma's shape, or a bundle of them in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaultak.errors import PolicyError
from vaultak.policy.rules import Bundle, load_bundle
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy.source import MAX_SOURCE_BYTES


def is_bundle(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def load_rules(paths: Sequence[Path]) -> Bundle:
    """One bundle of rule files, or a compiled one. Raises `PolicyError` naming file and line."""
    if len(paths) == 1 and is_bundle(paths[0]):
        return load_bundle(paths[0])
    return bundle_from([(str(path), read_rules(path)) for path in paths])


def read_rules(path: Path) -> str:
    """A rule file's text: no more than one may hold, and a byte to see that there is more. Raises `PolicyError`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SOURCE_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"cannot read `{path}`: {e}") from None
