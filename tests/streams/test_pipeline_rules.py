"""Rules in the stream: the SDK's own, with the stream's risk and factors beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streams.test_pipeline_step import event, record, run
from vaultak.errors import PolicyError
from vaultak.policy import PolicySettings
from vaultak.wire import CommandType, Decision
from vaultak_streams.judging import load_profile, make_pipeline
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.pipeline.step import StepResult
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy_files import load_policy

RULE = """
title: The rule
id: the-rule
detection:
  selection: {{{tests}}}
  condition: selection
enforce: {enforce}
"""


def judge(tests: str, enforce: str = "alert", **members: Any) -> StepResult:
    bundle = bundle_from([("r.yaml", RULE.format(tests=tests, enforce=enforce))])
    return run([record(0, event(0, **members))], rules=bundle, max_risk_score=1.0, alert_risk_score=1.0)


@pytest.mark.parametrize(
    ("tests", "matches"),
    [
        ("risk|gte: 0.3", True),
        ("risk|gte: 0.31", False),
        ("factors.behaviour|exists: true", True),
        ("factors.provenance|exists: true", False),
        ("labels.team: research", True),
        ("role: reader", True),
        ("history.actions_per_minute|gte: 1", True),
        ("local.decision: allow", True),
        ("payload.path: /tmp/x", True),
        ("resource|startswith: /var", False),
        ("agent_id: a", True),
    ],
)
def test_what_a_rule_can_ask_for(tests: str, matches: bool) -> None:
    result = judge(
        tests,
        payload={"risk": 0.3, "path": "/tmp/x"},
        labels={"team": "research", "role": "reader"},
        local={"decision": "allow"},
    )
    verdict = result.verdicts[0]
    assert (verdict.decision, verdict.rules) == ((Decision.ALERT, ("the-rule",)) if matches else (Decision.ALLOW, ()))


def test_what_a_session_read_counts_for_what_follows() -> None:
    bundle = bundle_from(
        [("r.yaml", RULE.format(tests="session.private_read: true, session.untrusted_read: true", enforce="block"))]
    )
    steps = [
        event(0, action_type="file_read", resource="/srv/customers/list.csv"),
        event(1, action_type="network_request", resource="news.example:443"),
        event(2, action_type="message_send", resource="mailto:a@b.example"),
        event(3, action_type="message_send", resource="mailto:a@b.example", session_id="another"),
    ]
    records = [record(n, step) for n, step in enumerate(steps)]
    whole = run(records, rules=bundle, max_risk_score=1.0, alert_risk_score=1.0)
    assert [verdict.decision for verdict in whole.verdicts] == ["allow", "allow", "block", "allow"]


def test_a_rule_s_decision_leads_to_its_command() -> None:
    result = judge("resource: /tmp/x", "kill")
    assert [command.command for command in result.commands] == [CommandType.KILL]
    assert result.verdicts[0].reasons == ("rule `the-rule`: The rule",)


@pytest.mark.parametrize(("local", "commands"), [("pause", []), ("allow", [CommandType.PAUSE])])
def test_what_the_sdk_holds_for_approval_pauses_no_agent(local: str, commands: list[CommandType]) -> None:
    """An SDK without the rule has let the action pass: then the agent is held."""
    result = judge("resource: /tmp/x", "require_approval", local={"decision": local})
    assert result.verdicts[0].decision is Decision.PAUSE
    assert [command.command for command in result.commands] == commands
    assert len(result.incidents) == 1


def test_rules_come_from_yaml_alone_or_beside_limits(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULE.format(tests="resource: x", enforce="block"))
    (tmp_path / "policy.yaml").write_text("max_risk_score: 0.6\nrules: rules.yaml\n")
    alone, beside = load_policy(tmp_path / "rules.yaml"), load_policy(tmp_path / "policy.yaml")
    assert alone.rules == beside.rules is not None
    assert beside.max_risk_score == 0.6
    assert alone.version != beside.version


@pytest.mark.parametrize("text", ["rules: 7\n", "rules: []\n", "rules: none.yaml\n"])
def test_rules_that_are_not_there_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(PolicyError, match=r"policy\.yaml|none\.yaml"):
        load_policy(tmp_path / "policy.yaml")


def test_the_first_time_at_a_resource_is_told_from_the_next(tmp_path: Path) -> None:
    """By the baseline: while that is not ready, nothing is known of the past."""
    bundle = bundle_from([("r.yaml", RULE.format(tests="history.resource_count: 0", enforce="alert"))])
    pipe = make_pipeline(PolicySettings(rules=bundle, max_risk_score=1.0, alert_risk_score=1.0))
    steps = [event(n, resource="/srv/usual.txt") for n in range(40)]
    steps += [event(40, resource="/srv/new.txt"), event(41, resource="/srv/usual.txt")]
    records = [record(n, step) for n, step in enumerate(steps)]
    verdicts = pipe.process(records, Shard(0, load_profile), None).verdicts
    assert [n for n, verdict in enumerate(verdicts) if "the-rule" in verdict.rules] == [40]
