"""Rule files: YAML of one or more documents, each a rule of Sigma's shape with our keys beside."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import yaml

from vaultak.errors import PolicyError
from vaultak.policy.rules import Bundle, CompiledRules, Enforce, Mode, OnError, Rule, Scope
from vaultak.policy.rules.tree import BUNDLE_FORMAT
from vaultak_streams.policy.condition import parse_condition
from vaultak_streams.policy.selection import parse_selection

MAX_SOURCE_BYTES = 4 * 1024 * 1024
MAX_YAML_DEPTH = 64


class RuleTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event and whether the rule must match it."""

    name: str
    event: dict[str, Any]
    match: bool


class Maturity(enum.StrEnum):
    """How far a rule is trusted: tried by its authors, in use somewhere, in use widely with few false alarms."""

    SANDBOX = "sandbox"
    INCUBATING = "incubating"
    STABLE = "stable"


class RuleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule as it is written. Members that are not known are refused, so that no limit is dropped in silence."""

    title: str
    id: str
    detection: dict[str, Any]
    enforce: Enforce
    description: str = ""
    level: str = "medium"
    status: str = "experimental"
    author: str = ""
    date: Any = None
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    logsource: dict[str, str] = {}
    falsepositives: tuple[str, ...] = ()
    maturity: Maturity = Maturity.SANDBOX
    mode: Mode = Mode.ENFORCE
    on_error: OnError = OnError.DENY
    override: bool = False
    scope: Scope = Scope()
    tests: tuple[RuleTest, ...] = ()


class RuleSource(msgspec.Struct, frozen=True):
    """A rule made ready, with its own tests and the line (from 1) at which its document begins."""

    rule: Rule
    tests: tuple[RuleTest, ...]
    line: int


class _Loader(yaml.SafeLoader):
    """Without aliases, which let a small file grow without end; nesting is bounded; a key given twice is refused."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it open
            raise PolicyError(f"line {event.start_mark.line + 1}: aliases (`*name`) are not read")
        self.depth += 1
        if self.depth > MAX_YAML_DEPTH:
            raise PolicyError(f"nested deeper than {MAX_YAML_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key, yaml.ScalarNode) else True:
                raise PolicyError(f"line {key.start_mark.line + 1}: key is given twice or is not plain")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_rules(text: str, name: str) -> list[RuleSource]:
    """The rules of a file. Raises `PolicyError` saying `name:line` and what is wrong."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise PolicyError(f"{name}: larger than {MAX_SOURCE_BYTES} bytes")
    try:
        loader = _Loader(text)
        return [_parse_one(loader, name) for _ in iter(loader.check_node, False)]
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise PolicyError(f"{name}:{line}: {e.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise PolicyError(f"{name}: {e}") from None


def _parse_one(loader: _Loader, name: str) -> RuleSource:
    try:
        node = loader.get_node()
    except PolicyError as e:
        raise PolicyError(f"{name}: {e}") from None
    if node is None:
        raise PolicyError(f"{name}: has no document")
    line = node.start_mark.line + 1
    try:
        written = msgspec.convert(loader.construct_document(node), RuleFile)
        rule = _to_rule(written)
    except (PolicyError, msgspec.ValidationError) as e:
        raise PolicyError(f"{name}:{line}: {e}") from None
    return RuleSource(rule, written.tests, line)


def _to_rule(written: RuleFile) -> Rule:
    detection = dict(written.detection)
    condition = detection.pop("condition", None)
    if not isinstance(condition, str):
        raise PolicyError("`detection` wants a `condition` that is text")
    selections = {str(name): parse_selection(str(name), members) for name, members in detection.items()}
    rule = Rule(
        id=written.id,
        title=written.title,
        condition=parse_condition(condition, selections),
        enforce=written.enforce,
        mode=written.mode,
        on_error=written.on_error,
        override=written.override,
        scope=written.scope,
    )
    CompiledRules(bundle_of([rule], "check"))  # before it is copied: a selection named often is large
    return msgspec.convert(msgspec.to_builtins(rule), Rule)  # holds lengths to their bounds


def bundle_of(rules: list[Rule], version: str) -> Bundle:
    return Bundle(format=BUNDLE_FORMAT, version=version, rules=tuple(rules))
