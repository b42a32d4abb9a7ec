"""Policies from files: TOML and JSON as the SDK reads them, and YAML, with the rules that it holds or names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from vaultak.errors import PolicyError
from vaultak.policy import PolicySettings
from vaultak.policy.load import load_policy as load_sdk_policy
from vaultak.policy.load import policy_from, read_policy_text
from vaultak.policy.rules import Bundle
from vaultak_streams.policy import bundle_from

YAML_SUFFIXES = (".yaml", ".yml")


def load_policy(path: Path | None) -> PolicySettings:
    """The limits in a `.yaml`, `.yml`, `.toml` or `.json` file; the defaults when there is none.

    YAML may also hold rules (documents with a `detection`) and no limits; beside limits, `rules` names rule files,
    seen from the policy's own directory.

    Raises `PolicyError` in one line that names the file, what is wrong and where.
    """
    if path is None:
        return PolicySettings()
    if path.suffix.lower() not in YAML_SUFFIXES:
        return load_sdk_policy(path)
    text = read_policy_text(path)
    try:
        first = next(iter(yaml.load_all(text, Loader=_PlainLoader)), None)
        if isinstance(first, dict) and "detection" in first:
            return PolicySettings(rules=_bundle([path]))
        members = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that knows no aliases
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise PolicyError(f"policy `{path}`: {' '.join(str(e).split())}") from None
    if not isinstance(members, dict) or "rules" not in members:
        return policy_from({} if members is None else members, path)
    named = members.pop("rules")
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise PolicyError(f"policy `{path}`: `rules` wants the names of rule files")
    return msgspec.structs.replace(policy_from(members, path), rules=_bundle([path.parent / name for name in names]))


def _bundle(paths: list[Path]) -> Bundle:
    return bundle_from([(str(path), read_policy_text(path)) for path in paths])


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for terabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)
