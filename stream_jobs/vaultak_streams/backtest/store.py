"""A back-test over the audit store, in which ClickHouse judges: only counts and examples come back.

What limits decided, such as `max_risk_score`, stays as it was recorded; what rules decided is replaced. Where both
matched one action, the recorded decision counts as the limits': it may be that of a rule.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from vaultak.policy.rules import Bundle
from vaultak.policy.rules.evaluate import ON_ERROR, RESERVED_IDS
from vaultak.policy.rules.tree import Enforce, Mode, Rule
from vaultak.wire import SEVERITY, Decision
from vaultak_streams.backtest.report import (
    EXAMPLE_CHARS,
    EXAMPLES,
    STOPPING,
    Answers,
    Example,
    Group,
    Report,
    make_report,
)
from vaultak_streams.policy.sql import FAILED, HOLDS, Translator, translate
from vaultak_streams.store.client import Store
from vaultak_streams.store.queries import FAR_AHEAD, LONG_AGO, moment

_DECISIONS = tuple(Decision)
_SETTINGS = {
    "max_query_size": 64 * 1024 * 1024,
    "max_ast_elements": 5_000_000,
    "max_expanded_ast_elements": 5_000_000,
    "query_plan_merge_expressions": 0,  # what rules share is computed once, not where each of them gets to it
    "max_block_size": 32_768,
    "preferred_block_size_bytes": 32 * 1024 * 1024,  # blocks of 1 MiB cost a seventh more: each sets up every function
}

# As in the view `actions`, with or without merging what was written of one action.
_SOURCE = """
    SELECT *, {reached} AS resource FROM (
    SELECT agent_id, ifNull(session_id, '') AS session_id, action_id, assumeNotNull(ts) AS ts,
        assumeNotNull(action_type) AS action_type, ifNull(resource, '') AS own_resource,
        ifNull(payload, '{{}}') AS payload, JSONExtract(ifNull(labels, '{{}}'), 'Map(String, String)') AS labels,
        ifNull(assurance, '') AS assurance, risk, decision, local_decision, local_risk,
        map('destructiveness', destructiveness, 'sensitivity', sensitivity, 'payload', payload_factor,
            'rate', rate, 'behaviour', behaviour, 'provenance', provenance) AS factors,
        rules, local_reasons
    FROM (SELECT * FROM action_parts {final} WHERE action_type IS NOT NULL AND {during} AND {chosen}))
"""
_DURING: Final = "ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}"
_FURTHER: Final = "position(ifNull(payload, ''), '\"resources\":[') > 0"
_REACHED: Final = (
    "arrayJoin(arrayDistinct(arrayConcat([own_resource], arrayMap(x -> JSONExtractString(x),"
    " arrayFilter(x -> startsWith(x, '\"'), arraySlice(JSONExtractArrayRaw(payload, 'resources'), 1, 1024))))))"
)

# Merging costs more than judging. A row with both the event and the verdict is whole as it is: only actions of which
# there are rows without a verdict are merged. A row that was written twice counts once.
_UNMERGED: Final = "SELECT agent_id, action_id FROM action_parts WHERE action_type IS NOT NULL AND decision IS NULL"
_WHOLE: Final = f"(agent_id, action_id) NOT IN ({_UNMERGED})"
_SPLIT: Final = f"(agent_id, action_id) IN ({_UNMERGED})"
_MANY: Final = 1_000_000
"""Unmerged rows from which on it is cheaper to merge everything."""

# The codes of rules, two bits for each, in numbers of 64: none where all are 0.
_JUDGED = """
    WITH [{codes}] AS packed
    SELECT agent_id, session_id, action_id, ts, action_type, own_resource, payload,
        if(arrayMax(packed) = 0, [], packed) AS codes,
        {severity_of_decision} AS judged_before,
        {severity_of_local} AS local_before,
        greatest(judged_before, local_before) AS before,
        if(before = 0, 0, greatest(
            multiIf(
                hasAny(JSONExtract(ifNull(rules, '[]'), 'Array(String)'), {{limits:Array(String)}}), judged_before,
                has(JSONExtract(ifNull(rules, '[]'), 'Array(String)'), 'alert_risk_score'), 1, 0),
            if(arrayAll(r -> startsWith(r, 'rule `') OR startsWith(r, 'shadow rule `'),
               JSONExtract(ifNull(local_reasons, '[]'), 'Array(String)')), 0, local_before))) AS limited,
        {further} AS further
    FROM (SELECT *{definitions} FROM ({source}))
"""

_SINGLE = "SELECT *, [codes] AS judged FROM ({judged}) WHERE notEmpty(codes) OR before != limited OR further"
# An action that reaches further resources is judged for each of them, and the most severe decision counts.
_SEVERAL = """
    SELECT agent_id, any(session_id) AS session_id, action_id, any(ts) AS ts, any(action_type) AS action_type,
        any(own_resource) AS own_resource, any(payload) AS payload, any(before) AS before, any(limited) AS limited,
        arraySort(groupUniqArray(codes)) AS judged, false AS further
    FROM ({judged}) GROUP BY agent_id, action_id
"""
_TOLD = "SELECT * FROM ({judged}) WHERE notEmpty(arrayFlatten(judged)) OR before != limited"

_GROUPED = """
SELECT agent_id, before, limited, if(further, [], judged) AS judged, further,
    uniqExact(cityHash64(agent_id, action_id)) AS actions,
    groupUniqArray({{examples:UInt8}})(toJSONString([toString(ts), agent_id, session_id, action_id,
        toString(action_type), own_resource, substringUTF8(payload, 1, {{chars:UInt16}})])) AS shown
FROM ({told})
GROUP BY agent_id, before, limited, judged, further
"""
_COUNTED = "SELECT uniqExact(cityHash64(agent_id, action_id)) FROM ({source})"


_PACKED: Final = 31


class _Question(msgspec.Struct, frozen=True):
    """A policy as SQL over recorded actions: what rules share, and numbers that hold their codes (0, 1, 2)."""

    during: str
    definitions: str
    codes: str
    packed: tuple[tuple[int, ...], ...]
    """Positions of the rules whose codes each number holds, from its lowest bits on."""
    parameters: dict[str, Any]
    unknown: dict[str, tuple[str, ...]]


def backtest_store(store: Store, bundle: Bundle, *, since: str | None = None, until: str | None = None) -> Report:
    """Judge the actions stored since then by `bundle`. `since` and `until` as for `audit query`.

    Raises `ConfigurationError` for a bad time, `StoreUnavailableError`, `StoreRejectedError`.
    """
    started = time.perf_counter()
    asked = _question(bundle, since, until)
    decide = _Decide(bundle, asked.packed)
    unmerged = int(_ask(store, f"SELECT count() FROM ({_UNMERGED})", asked)[0][0])  # noqa: S608 - our own text
    if unmerged > _MANY:
        parts = [("FINAL", "true")]
    else:
        parts = [("", _WHOLE), ("FINAL", _SPLIT)] if unmerged else [("", "true")]
    groups = [group for final, chosen in parts for group in _groups(store, asked, decide, final, chosen)]
    return make_report(
        bundle,
        groups,
        source=f"the store {store.database} at {store.address}" + (f", last {since}" if since else ""),
        unknown=asked.unknown,
        answers=_answers(store, asked, decide),
        elapsed_s=time.perf_counter() - started,
    )


def _question(bundle: Bundle, since: str | None, until: str | None) -> _Question:
    rules, translator = translate(bundle.rules)
    parameters = {
        "since": moment("--since", since) or LONG_AGO,
        "until": moment("--until", until) or FAR_AHEAD,
        "decisions": [decision.value for decision in _DECISIONS],
        "limits": sorted(RESERVED_IDS - {"alert_risk_score"}),
        "examples": EXAMPLES,
        "chars": EXAMPLE_CHARS,
    }
    by_types: dict[frozenset[str] | None, list[int]] = {}
    for position, rule in enumerate(rules):
        by_types.setdefault(rule.types, []).append(position)
    packed = [(types, of[at : at + _PACKED]) for types, of in by_types.items() for at in range(0, len(of), _PACKED)]
    codes = [_codes([rules[n].expression for n in of], types, translator) for types, of in packed]
    return _Question(
        during=_DURING if since or until else "true",
        codes=", ".join([*codes, "materialize(toUInt64(0))"]),
        definitions="".join(f", {definition}" for definition in translator.definitions),
        packed=tuple(tuple(of) for _, of in packed),
        parameters={**parameters, **translator.parameters},
        unknown={rule.id: t.unknown for rule, t in zip(bundle.rules, rules, strict=True) if t.unknown},
    )


def _codes(expressions: list[str], types: frozenset[str] | None, translator: Translator) -> str:
    """The codes of rules that are for the same action types: looked at together, where an action is of these."""
    codes = " + ".join(f"{expression} * toUInt64({4**n})" for n, expression in enumerate(expressions))
    return f"({codes})" if types is None else f"if({translator.of_types(types)}, {codes}, toUInt64(0))"


def _groups(store: Store, asked: _Question, decide: _Decide, final: str, chosen: str) -> list[Group]:
    """What the report tells of by itself, and one group of all else."""
    single = _SINGLE.format(judged=_judged(asked, final, chosen, further=_FURTHER))
    rows = _ask(store, _GROUPED.format(told=single), asked)
    if any(further for *_, further, _count, _shown in rows):
        several = _SEVERAL.format(judged=_judged(asked, final, f"{chosen} AND {_FURTHER}", reached=_REACHED))
        rows = [row for row in rows if not row[4]] + _ask(
            store, _GROUPED.format(told=_TOLD.format(judged=several)), asked
        )
    groups = [decide(row) for row in rows]
    source = _SOURCE.format(reached="own_resource", final=final, chosen=chosen, during=asked.during)
    total = int(_ask(store, _COUNTED.format(source=source), asked)[0][0])
    return [*groups, Group("", Decision.ALLOW, Decision.ALLOW, (), (), total - sum(group.count for group in groups))]


def _judged(asked: _Question, final: str, chosen: str, *, reached: str = "own_resource", further: str = "false") -> str:
    return _JUDGED.format(
        definitions=asked.definitions,
        codes=asked.codes,
        further=further,
        severity_of_decision=_severity("decision"),
        severity_of_local=_severity("local_decision"),
        source=_SOURCE.format(reached=reached, final=final, chosen=chosen, during=asked.during),
    )


def _severity(column: str) -> str:
    return f"toUInt8(greatest(indexOf({{decisions:Array(String)}}, ifNull(toString({column}), 'allow')), 1) - 1)"


def _ask(store: Store, sql: str, asked: _Question) -> list[tuple[Any, ...]]:
    return store.query(sql, asked.parameters, settings=_SETTINGS).rows


class _Decide:
    """What the codes of rules come to, as `CompiledRules` puts them together."""

    def __init__(self, bundle: Bundle, packed: Sequence[Sequence[int]]) -> None:
        self._packed = packed
        self._asked = [_asked(rule) for rule in bundle.rules]
        self._on_error = [SEVERITY[ON_ERROR[rule.on_error]] * _enforced(rule) for rule in bundle.rules]
        self._overrides = {n for n, rule in enumerate(bundle.rules) if _overrides(rule)}

    def __call__(self, row: Sequence[Any]) -> Group:
        agent, before, limited, judged, _further, count, shown = row
        return Group(
            agent_id=agent,
            before=_DECISIONS[before],
            after=_DECISIONS[self.after(limited, judged)],
            matched=self._positions(judged, HOLDS),
            failed=self._positions(judged, FAILED),
            count=count,
            examples=tuple(Example(*msgspec.json.decode(members)) for members in sorted(shown)),
        )

    def after(self, limited: int, judged: Sequence[Sequence[int]]) -> int:
        """The decision's rank, from the codes for each of the resources that an action reaches."""
        return max([limited, *map(self._ruled, judged)])

    def _ruled(self, codes: Sequence[int]) -> int:
        matched, failed = self._positions([codes], HOLDS), self._positions([codes], FAILED)
        asked = [] if self._overrides.intersection(matched) else [self._asked[n] for n in matched]
        return max([0, *asked, *(self._on_error[n] for n in failed)])

    def _positions(self, judged: Sequence[Sequence[int]], code: int) -> tuple[int, ...]:
        found = {
            position
            for codes in judged
            for number, positions in zip(codes, self._packed, strict=False)
            for n, position in enumerate(positions)
            if number >> 2 * n & 3 == code
        }
        return tuple(sorted(found))


def _answers(store: Store, asked: _Question, decide: _Decide) -> Answers:
    """What people were asked about: an action approved once counts as approved."""
    if not _ask(store, f"SELECT 1 FROM commands WHERE {_ANSWERING} LIMIT 1", asked):  # noqa: S608 - our own text
        return Answers()
    several = _SEVERAL.format(judged=_judged(asked, "FINAL", _WAS_ANSWERED, reached=_REACHED))
    found: Counter[tuple[str, bool]] = Counter()
    for answer, limited, judged, count in _ask(store, _ANSWERED.format(several=several), asked):
        found[answer, decide.after(limited, judged) >= STOPPING] += count
    return Answers(
        approved=found["approve", True] + found["approve", False],
        approved_stopped=found["approve", True],
        denied=found["deny", True] + found["deny", False],
        denied_let_through=found["deny", False],
    )


_ANSWERING: Final = "command IN ('approve', 'deny') AND action_id != ''"
_WAS_ANSWERED: Final = f"(agent_id, action_id) IN (SELECT agent_id, action_id FROM commands WHERE {_ANSWERING})"  # noqa: S608
_ANSWERED = """
SELECT answer, limited, judged, count() AS actions
FROM ({several}) AS a
INNER JOIN
(
    SELECT agent_id, action_id, argMin(command, (command != 'approve', ts)) AS answer FROM commands
    WHERE command IN ('approve', 'deny') AND action_id != '' GROUP BY agent_id, action_id
) AS c ON c.agent_id = a.agent_id AND c.action_id = a.action_id
GROUP BY answer, limited, judged
"""


def _enforced(rule: Rule) -> int:
    return int(rule.mode is Mode.ENFORCE)


def _asked(rule: Rule) -> int:
    return SEVERITY[rule.enforce.decision] * _enforced(rule)


def _overrides(rule: Rule) -> bool:
    return rule.override and rule.enforce is Enforce.ALLOW and rule.mode is Mode.ENFORCE
