"""Rule files: YAML of one or more documents, each a rule of Sigma's shape with our keys beside."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import UNSET, Meta, UnsetType

from vaultak.errors import PolicyError
from vaultak.policy.rules import Bundle, CompiledRules, Enforce, Mode, OnError, Rule, Scope
from vaultak.policy.rules.tree import BUNDLE_FORMAT
from vaultak_streams.policy.blame import line_of
from vaultak_streams.policy.condition import parse_condition
from vaultak_streams.policy.selection import parse_selection
from vaultak_streams.policy.times import WrittenActive, WrittenRate, active_of, rate_of

MAX_SOURCE_BYTES = 4 * 1024 * 1024
MAX_YAML_DEPTH = 64
MAX_TEST_TIMES = 10_000


class RuleTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event and whether the rule must match it: the last of `times` such events, all at the same time `at`."""

    name: str
    event: dict[str, Any]
    match: bool
    times: Annotated[int, Meta(ge=1, le=MAX_TEST_TIMES)] = 1
    at: Annotated[dt.datetime, Meta(tz=True)] | None = None


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
    rate: WrittenRate | UnsetType = UNSET
    active: WrittenActive | UnsetType = UNSET
    tests: tuple[RuleTest, ...] = ()


class RuleSource(msgspec.Struct, frozen=True):
    """A rule made ready, with its own tests and the line (from 1) at which its document begins."""

    rule: Rule
    tests: tuple[RuleTest, ...]
    line: int


class _RefusedError(Exception):
    """A document is refused at a line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Without aliases, which let a small file grow without end; nesting is bounded; a key given twice is refused."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it open
            raise _RefusedError(event.start_mark.line + 1, "aliases (`*name`) are not read")
        self.depth += 1
        if self.depth > MAX_YAML_DEPTH:
            raise _RefusedError(self.peek_event().start_mark.line + 1, f"nested deeper than {MAX_YAML_DEPTH}")  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key, yaml.ScalarNode) else True:
                raise _RefusedError(key.start_mark.line + 1, "key is given twice or is not plain")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _without_sexagesimals(resolvers: dict[Any, list[tuple[str, Any]]]) -> dict[Any, list[tuple[str, Any]]]:
    """`22:00` is text, as in YAML 1.2, and not 1320."""
    numbers = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
    return {
        first: [(tag, _Plain(found) if tag in numbers else found) for tag, found in known]
        for first, known in resolvers.items()
    }


class _Plain:
    """What a resolver's expression finds, unless there is a colon in it."""

    def __init__(self, expression: Any) -> None:
        self._expression = expression

    def match(self, text: str) -> Any:
        return None if ":" in text else self._expression.match(text)


_Loader.yaml_implicit_resolvers = _without_sexagesimals(yaml.SafeLoader.yaml_implicit_resolvers)


class Fault(msgspec.Struct, frozen=True):
    """What a rule file has wrong, at the line (from 1) of the key that it is about; 0 where no line is known."""

    line: int
    message: str


def parse_rules(text: str, name: str) -> list[RuleSource]:
    """The rules of a file. Raises `PolicyError` saying `name:line` and what is wrong."""
    sources, faults = read_rules(text)
    if faults:
        where = f"{name}:{faults[0].line}" if faults[0].line else name
        raise PolicyError(f"{where}: {faults[0].message}")
    return sources


def read_rules(text: str) -> tuple[list[RuleSource], list[Fault]]:
    """The good rules of a file and the fault of each bad one; text that is not YAML ends the reading. Never raises."""
    sources: list[RuleSource] = []
    faults: list[Fault] = []
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        return [], [Fault(0, f"larger than {MAX_SOURCE_BYTES} bytes")]
    try:
        loader = _Loader(text)
        while loader.check_node():
            _read_one(loader, sources, faults)
    except yaml.MarkedYAMLError as e:
        faults.append(Fault(e.problem_mark.line + 1 if e.problem_mark else 1, str(e.problem)))
    except _RefusedError as e:
        faults.append(Fault(e.line, str(e)))
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        faults.append(Fault(0, str(e)))
    return sources, faults


def _read_one(loader: _Loader, sources: list[RuleSource], faults: list[Fault]) -> None:
    node = loader.get_node()
    if node is None:
        faults.append(Fault(0, "has no document"))
        return
    line = node.start_mark.line + 1
    try:
        written = msgspec.convert(loader.construct_document(node), RuleFile)
        rule = _to_rule(written)
    except _RefusedError as e:
        faults.append(Fault(e.line, str(e)))
    except (PolicyError, msgspec.ValidationError) as e:
        faults.append(Fault(line_of(node, str(e)) or line, str(e)))
    else:
        sources.append(RuleSource(rule, written.tests, line))


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
        rate=rate_of(written.rate),
        active=active_of(written.active),
    )
    CompiledRules(bundle_of([rule], "check"))  # before it is copied: a selection named often is large
    return msgspec.convert(msgspec.to_builtins(rule), Rule)  # holds lengths to their bounds


def bundle_of(rules: list[Rule], version: str) -> Bundle:
    return Bundle(format=BUNDLE_FORMAT, version=version, rules=tuple(rules))


def bundle_from(texts: Sequence[tuple[str, str]]) -> Bundle:
    """One bundle of rule files, each its name and its text. The version is a digest of the rules.

    Raises `PolicyError` as `parse_rules` does, and where the rules cannot stand together.
    """
    rules = [source.rule for name, text in texts for source in parse_rules(text, name)]
    version = "r-" + hashlib.sha256(msgspec.json.encode(rules, order="deterministic")).hexdigest()[:12]
    bundle = bundle_of(rules, version)
    CompiledRules(bundle)
    return bundle
