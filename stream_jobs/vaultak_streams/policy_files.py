"""Policies from files: TOML and JSON as the SDK reads them, and YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vaultak.errors import PolicyError
from vaultak.policy import PolicySettings
from vaultak.policy.load import load_policy as load_sdk_policy
from vaultak.policy.load import policy_from, read_policy_text

YAML_SUFFIXES = (".yaml", ".yml")


def load_policy(path: Path | None) -> PolicySettings:
    """The limits in a `.yaml`, `.yml`, `.toml` or `.json` file; the defaults when there is none.

    Raises `PolicyError` in one line that names the file, what is wrong and where.
    """
    if path is None:
        return PolicySettings()
    if path.suffix.lower() not in YAML_SUFFIXES:
        return load_sdk_policy(path)
    text = read_policy_text(path)
    try:
        members = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that knows no aliases
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise PolicyError(f"policy `{path}`: {' '.join(str(e).split())}") from None
    return policy_from({} if members is None else members, path)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for terabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)
