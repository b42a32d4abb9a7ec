"""Policies from files: TOML or JSON. The pipeline adds YAML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from vaultak.errors import PolicyError
from vaultak.policy.rules import load_bundle
from vaultak.policy.settings import PolicySettings
from vaultak.wire.codec import UNREADABLE

MAX_POLICY_BYTES = 16 * 1024 * 1024


def read_policy_text(path: Path) -> str:
    """The file's text. Raises `PolicyError` when it cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_POLICY_BYTES:
            raise PolicyError(f"policy `{path}` is larger than {MAX_POLICY_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"cannot read policy `{path}`: {e}") from None


def policy_from(members: Any, path: Path) -> PolicySettings:
    """Settings from parsed members. Raises `PolicyError` naming the file and the member."""
    try:
        return msgspec.convert(members, PolicySettings)
    except msgspec.ValidationError as e:
        raise PolicyError(f"policy `{path}`: {str(e).replace('Object contains', 'it contains')}") from None


def load_policy(path: Path) -> PolicySettings:
    """A policy from a `.toml` or `.json` file. Raises `PolicyError`."""
    text = read_policy_text(path)
    try:
        match path.suffix.lower():
            case ".toml":
                return policy_from(tomllib.loads(text), path)
            case ".json":
                members = msgspec.json.decode(text)
                if isinstance(members, dict) and "format" in members:  # a bundle of rules, with no limits beside it
                    return PolicySettings(rules=load_bundle(path))
                return policy_from(members, path)
    except (tomllib.TOMLDecodeError, *UNREADABLE) as e:
        raise PolicyError(f"policy `{path}`: {e}") from None
    raise PolicyError(f"policy `{path}`: the SDK reads `.toml` and `.json`, not `{path.suffix}`")
