"""The line of the key that an error is about, found in the YAML node that it was read from."""

from __future__ import annotations

import re

import yaml

_PATH = re.compile(r"- at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(?P<key>[^`]+)`")
_SELECTION = re.compile(r"^selection `(?P<name>[^`]*)`(, `(?P<key>[^`]*)`)?")
_FIELD = re.compile(r"`(?P<key>[^`|]+\|\w+)`")


def line_of(node: yaml.Node, message: str) -> int:
    """The line (from 1) of the key that `message` names; 0 where it names none that is there."""
    if selection := _SELECTION.match(message):
        return _deepest(node, ["detection", selection["name"], *([selection["key"]] if selection["key"] else [])])
    if message.startswith(("condition", "`detection` wants")):
        return _deepest(node, ["detection", "condition"])
    steps = [key or index for key, index in _STEP.findall(path["path"])] if (path := _PATH.search(message)) else []
    if unknown := _UNKNOWN.search(message):
        steps.append(unknown["key"])
    if steps:
        return _deepest(node, steps)
    field = _FIELD.search(message)
    return _anywhere(_member(node, "detection"), field["key"]) if field else 0


def _deepest(node: yaml.Node | None, steps: list[str]) -> int:
    """The line of the last step that is there; a step that several list elements have is looked for in each."""
    line = 0
    for step in steps:
        if isinstance(node, yaml.SequenceNode) and not step.isdigit():
            found = [(part, key) for part in node.value if (key := _key(part, step)) is not None]
            node, at = found[0] if found else (None, None)
            node = _member(node, step) if node is not None else None
        elif isinstance(node, yaml.SequenceNode):
            at = node = node.value[int(step)] if int(step) < len(node.value) else None
        else:
            at, node = _key(node, step), _member(node, step)
        if at is None:
            return line
        line = at.start_mark.line + 1
    return line


def _anywhere(node: yaml.Node | None, key: str) -> int:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if str(name.value).startswith(key):
                return int(name.start_mark.line) + 1
            if line := _anywhere(value, key):
                return line
    if isinstance(node, yaml.SequenceNode):
        return next((line for part in node.value if (line := _anywhere(part, key))), 0)
    return 0


def _key(node: yaml.Node | None, name: str) -> yaml.Node | None:
    members = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((key for key, _ in members if key.value == name), None)


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    members = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in members if key.value == name), None)
