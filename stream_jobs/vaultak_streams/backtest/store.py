"""A back-test over the audit store, in one query: ClickHouse judges, only counts and examples come back.

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
from vaultak_streams.policy.sql import FAILED, HOLDS, Translator
from vaultak_streams.store.client import Store
from vaultak_streams.store.queries import FAR_AHEAD, LONG_AGO, moment

_DECISIONS = tuple(Decision)
_SETTINGS = {"max_query_size": 64 * 1024 * 1024, "max_ast_elements": 5_000_000, "max_expanded_ast_elements": 5_000_000}

# As in the view `actions`, with or without merging what was written of one action.
_SOURCE = """
    SELECT *, {reached} AS resource FROM (
    SELECT agent_id, ifNull(session_id, '') AS session_id, action_id, assumeNotNull(ts) AS ts,
        assumeNotNull(action_type) AS action_type, ifNull(resource, '') AS own_resource,
        ifNull(payload, '{{}}') AS payload, JSONExtract(ifNull(labels, '{{}}'), 'Map(String, String)') AS labels,
        ifNull(assurance, '') AS assurance, risk, decision, local_decision, local_risk,
        map('destructiveness', destructiveness, 'sensitivity', sensitivity, 'payload', payload_factor,
            'rate', rate, 'behaviour', behaviour, 'provenance', provenance) AS factors,
        JSONExtract(ifNull(rules, '[]'), 'Array(String)') AS rules,
        JSONExtract(ifNull(local_reasons, '[]'), 'Array(String)') AS local_reasons
    FROM (SELECT * FROM action_parts {final} WHERE action_type IS NOT NULL
        AND ts >= {{since:DateTime64(6, 'UTC')}} AND ts <= {{until:DateTime64(6, 'UTC')}} AND {chosen}))
"""
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

_JUDGED = """
    WITH {definitions}
    SELECT agent_id, session_id, action_id, ts, action_type, own_resource, payload,
        if(greatest(0, {names}) > 0, [{names}], []) AS codes,
        {severity_of_decision} AS judged_before,
        {severity_of_local} AS local_before,
        greatest(judged_before, local_before) AS before,
        greatest(
            multiIf(hasAny(rules, {{limits:Array(String)}}), judged_before, has(rules, 'alert_risk_score'), 1, 0),
            if(empty(local_reasons) OR arrayAll(r -> startsWith(r, 'rule `') OR startsWith(r, 'shadow rule `'),
               local_reasons), 0, local_before)) AS limited
    FROM ({source})
"""

_SINGLE = """
    SELECT agent_id, session_id, action_id, ts, action_type, own_resource, payload, before, limited,
        if(empty(codes), [], [codes]) AS judged
    FROM ({judged})
"""
# An action that reaches further resources is judged for each of them, and the most severe decision counts.
_SEVERAL = """
    SELECT agent_id, any(session_id) AS session_id, action_id, any(ts) AS ts, any(action_type) AS action_type,
        any(own_resource) AS own_resource, any(payload) AS payload, any(before) AS before, any(limited) AS limited,
        arraySort(groupUniqArrayIf(codes, notEmpty(codes))) AS judged
    FROM ({judged}) GROUP BY agent_id, action_id
"""

_GROUPED = """
SELECT if(notEmpty(judged) OR before != limited, agent_id, '') AS agent, before, limited, judged,
    uniqExact(sipHash64(agent_id, action_id)) AS actions,
    groupUniqArrayIf({{examples:UInt8}})((toString(ts), session_id, action_id, action_type, own_resource,
        substringUTF8(payload, 1, {{chars:UInt16}})), notEmpty(judged) OR before != limited) AS shown
FROM ({single} UNION ALL {several})
GROUP BY agent, before, limited, judged
"""


class _Question(msgspec.Struct, frozen=True):
    """A policy as SQL over recorded actions: named expressions, and one code (0, 1, 2) for each rule by its name."""

    definitions: str
    names: str
    parameters: dict[str, Any]
    unknown: dict[str, tuple[str, ...]]


def backtest_store(store: Store, bundle: Bundle, *, since: str | None = None, until: str | None = None) -> Report:
    """Judge the actions stored since then by `bundle`. `since` and `until` as for `audit query`.

    Raises `ConfigurationError` for a bad time, `StoreUnavailableError`, `StoreRejectedError`.
    """
    started = time.perf_counter()
    asked = _question(bundle, since, until)
    decide = _Decide(bundle)
    unmerged = int(_ask(store, f"SELECT count() FROM ({_UNMERGED})", asked)[0][0])  # noqa: S608 - our own text
    if unmerged > _MANY:
        parts = [("FINAL", "true")]
    else:
        parts = [("", _WHOLE), ("FINAL", _SPLIT)] if unmerged else [("", "true")]
    groups = [decide(row) for final, chosen in parts for row in _ask(store, _grouped(asked, final, chosen), asked)]
    return make_report(
        bundle,
        groups,
        source=f"the store {store.database} at {store.address}" + (f", last {since}" if since else ""),
        unknown=asked.unknown,
        answers=_answers(store, asked, decide),
        elapsed_s=time.perf_counter() - started,
    )


def _question(bundle: Bundle, since: str | None, until: str | None) -> _Question:
    translator = Translator()
    rules = [translator.rule(rule) for rule in bundle.rules]
    names = [f"c{n}" for n in range(len(rules))]
    codes = [f"{rule.expression} AS {name}" for name, rule in zip(names, rules, strict=True)]
    parameters = {
        **translator.parameters,
        "since": moment("--since", since) or LONG_AGO,
        "until": moment("--until", until) or FAR_AHEAD,
        "decisions": [decision.value for decision in _DECISIONS],
        "limits": sorted(RESERVED_IDS - {"alert_risk_score"}),
        "examples": EXAMPLES,
        "chars": EXAMPLE_CHARS,
    }
    unknown = {rule.id: t.unknown for rule, t in zip(bundle.rules, rules, strict=True) if t.unknown}
    definitions = ", ".join([*translator.definitions, *codes, "materialize(toUInt8(0)) AS nothing"])
    return _Question(definitions, ", ".join([*names, "nothing"]), parameters, unknown)


def _grouped(asked: _Question, final: str, chosen: str) -> str:
    single = _SINGLE.format(judged=_judged(asked, "own_resource", final, f"{chosen} AND NOT ({_FURTHER})"))
    several = _SEVERAL.format(judged=_judged(asked, _REACHED, final, f"{chosen} AND {_FURTHER}"))
    return _GROUPED.format(single=single, several=several)


def _judged(asked: _Question, reached: str, final: str, chosen: str) -> str:
    return _JUDGED.format(
        definitions=asked.definitions,
        names=asked.names,
        severity_of_decision=_severity("decision"),
        severity_of_local=_severity("local_decision"),
        source=_SOURCE.format(reached=reached, final=final, chosen=chosen),
    )


def _severity(column: str) -> str:
    return f"toUInt8(greatest(indexOf({{decisions:Array(String)}}, ifNull(toString({column}), 'allow')), 1) - 1)"


def _ask(store: Store, sql: str, asked: _Question) -> list[tuple[Any, ...]]:
    return store.query(sql, asked.parameters, settings=_SETTINGS).rows


class _Decide:
    """What the codes of rules come to, as `CompiledRules` puts them together."""

    def __init__(self, bundle: Bundle) -> None:
        self._asked = [_asked(rule) for rule in bundle.rules]
        self._on_error = [SEVERITY[ON_ERROR[rule.on_error]] * _enforced(rule) for rule in bundle.rules]
        self._overrides = {n for n, rule in enumerate(bundle.rules) if _overrides(rule)}

    def __call__(self, row: Sequence[Any]) -> Group:
        agent, before, limited, judged, count, shown = row
        return Group(
            agent_id=agent,
            before=_DECISIONS[before],
            after=_DECISIONS[self.after(limited, judged)],
            matched=_positions(judged, HOLDS),
            failed=_positions(judged, FAILED),
            count=count,
            examples=tuple(Example(ts, agent, *rest) for ts, *rest in sorted(shown)),
        )

    def after(self, limited: int, judged: Sequence[Sequence[int]]) -> int:
        """The decision's rank, from the codes for each of the resources that an action reaches."""
        return max([limited, *map(self._ruled, judged)])

    def _ruled(self, codes: Sequence[int]) -> int:
        matched, failed = _positions([codes], HOLDS), _positions([codes], FAILED)
        asked = [] if self._overrides.intersection(matched) else [self._asked[n] for n in matched]
        return max([0, *asked, *(self._on_error[n] for n in failed)])


def _positions(judged: Sequence[Sequence[int]], code: int) -> tuple[int, ...]:
    return tuple(sorted({n for codes in judged for n, c in enumerate(codes) if c == code}))


def _answers(store: Store, asked: _Question, decide: _Decide) -> Answers:
    """What people were asked about: an action approved once counts as approved."""
    several = _SEVERAL.format(judged=_judged(asked, _REACHED, "FINAL", _WAS_ANSWERED))
    found: Counter[tuple[str, bool]] = Counter()
    for answer, limited, judged, count in _ask(store, _ANSWERED.format(several=several), asked):
        found[answer, decide.after(limited, judged) >= STOPPING] += count
    return Answers(
        approved=found["approve", True] + found["approve", False],
        approved_stopped=found["approve", True],
        denied=found["deny", True] + found["deny", False],
        denied_let_through=found["deny", False],
    )


_WAS_ANSWERED: Final = (
    "(agent_id, action_id) IN (SELECT agent_id, action_id FROM commands"
    " WHERE command IN ('approve', 'deny') AND action_id != '')"
)
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
