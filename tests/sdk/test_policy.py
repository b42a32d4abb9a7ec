"""What limits mean: patterns over resources, decisions by mode, and files that say what is wrong with them."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak import ActionType, Decision, KillSwitchMode, PolicyError, PolicySettings
from vaultak.policy import CompiledPolicy, ResourceMatcher, RiskTables, StaticRiskModel, load_policy
from vaultak.policy.load import MAX_POLICY_BYTES
from vaultak.policy.resources import forms
from vaultak.wire import SEVERITY

READ, WRITE, DELETE = ActionType.FILE_READ, ActionType.FILE_WRITE, ActionType.FILE_DELETE


@pytest.mark.parametrize(
    ("pattern", "matches", "passes"),
    [
        ("*.env", ["/srv/app/.env", ".env", "/x/prod.env"], ["/srv/.env.example", "/srv/environment"]),
        ("prod.*", ["db://pg/prod.users", "prod.internal:443", "/srv/prod.db"], ["preprod.internal:443", "/srv/prod"]),
        ("/tmp/*", ["/tmp/x", "/tmp/a/b/c"], ["/tmp", "/tmpx", "/srv/tmp/x"]),
        ("tool:send_*", ["tool:send_money"], ["tool:resend_money", "x/tool:send_money"]),
        ("https://api.example.com/*", ["https://api.example.com/v1"], ["http://api.example.com/v1"]),
        ("?.txt", ["/srv/a.txt", "b.txt"], ["/srv/ab.txt"]),
        ("a+(b)[c]", ["/x/a+(b)[c]"], ["/x/aab[c]"]),
        ("example.com:*", ["user@example.com:22", "example.com:443"], ["notexample.com:443"]),
        ("*", ["", "/anything\nat all"], []),
        ("", [""], ["/x"]),
    ],
)
def test_a_pattern_matches_what_its_documentation_says(pattern: str, matches: list[str], passes: list[str]) -> None:
    matcher = ResourceMatcher([pattern])
    assert [r for r in matches if matcher.match(r) is None] == []
    assert [r for r in passes if matcher.match(r) is not None] == []


_GLOB = st.text(st.sampled_from("ab/.*?:[]\\é\n$^"), max_size=12)


@given(_GLOB.map(lambda p: "/" + p), st.text(st.sampled_from("ab/.:[]\\é\n$^"), max_size=12).map(lambda r: "/" + r))
def test_an_anchored_glob_is_the_shell_glob_without_brackets(pattern: str, resource: str) -> None:
    literal = re.sub(r"\[", "[[]", pattern)
    matched = [fnmatch.fnmatchcase(form, literal) for form in forms(resource)]
    matcher = ResourceMatcher([pattern])
    assert (matcher.match(resource) is not None, matcher.match_every_form(resource)) == (any(matched), all(matched))


@given(_GLOB, _GLOB)
def test_a_bare_pattern_matches_after_any_separator(pattern: str, prefix: str) -> None:
    literal = pattern.replace("*", "x").replace("?", "y")
    for separator in "/:@":
        whole = prefix + separator + literal
        if not re.match(r"/|[a-z][a-z0-9+-]*:", pattern):
            assert ResourceMatcher([pattern]).match(whole) == pattern


@pytest.mark.parametrize(
    ("resource", "resolves_to"),
    [
        ("/tmp/../etc/passwd", "/etc/passwd"),
        ("//etc///passwd", "/etc/passwd"),
        ("/tmp/a/..", "/tmp"),
        ("/tmp/./a/", "/tmp/a/"),
        ("/../..", "/"),
        ("https://host/open/../admin?next=/../x", "https://host/admin?next=/../x"),
        ("file:///tmp/../etc/passwd", "file:///etc/passwd"),
    ],
)
def test_a_path_counts_as_it_is_written_and_as_it_resolves(resource: str, resolves_to: str) -> None:
    assert forms(resource) == (resource, resolves_to)
    written, plain = ResourceMatcher([resource]), ResourceMatcher([resolves_to])
    assert written.match(resource) == resource
    assert plain.match(resource) == resolves_to
    assert not written.match_every_form(resource)
    assert ResourceMatcher([resource, resolves_to]).match_every_form(resource)


@pytest.mark.parametrize("resource", ["/srv/.env", "/srv/a..b", "/tmp/", "https://host", "tool:a/../b", "../x", ""])
def test_what_needs_no_resolving_has_one_form(resource: str) -> None:
    assert forms(resource) == (resource,)


@given(st.text(st.sampled_from("ab/.:?#"), max_size=20))
def test_a_resolved_path_resolves_to_itself(resource: str) -> None:
    assert len(forms(forms("/" + resource)[-1])) == 1


def test_an_allowed_folder_is_not_left_by_dots() -> None:
    policy = CompiledPolicy(PolicySettings(allowed_resources=("/tmp/*",), blocked_resources=("/etc/*",)))
    assert policy.evaluate(WRITE, "/tmp/a/../b").decision is Decision.ALLOW
    assert policy.evaluate(WRITE, "/tmp/../srv/x").rules == ("allowed_resources",)
    assert "blocked_resources" in policy.evaluate(WRITE, "/tmp/../etc/passwd").rules
    assert policy.evaluate(WRITE, "/srv/../tmp/x").rules == ("allowed_resources",), "`/srv` may be a link"


@given(st.lists(_GLOB, max_size=8, unique=True), st.text(max_size=20))
def test_the_first_of_several_patterns_is_named_and_a_set_agrees_with_its_members(
    patterns: list[str], resource: str
) -> None:
    alone = [p for p in patterns if ResourceMatcher([p]).match(resource) is not None]
    matcher = ResourceMatcher(patterns)
    assert matcher.match(resource) == (alone[0] if alone else None)
    assert matcher.match(resource) == matcher.match(resource)


def test_a_pattern_that_would_backtrack_costs_nothing_extra() -> None:
    assert ResourceMatcher(["/" + "*a" * 30 + "b"]).match("/" + "a" * 5000) is None


_LIMIT = {
    KillSwitchMode.ALERT: Decision.ALERT,
    KillSwitchMode.PAUSE: Decision.BLOCK,
    KillSwitchMode.BLOCK: Decision.BLOCK,
    KillSwitchMode.ROLLBACK: Decision.ROLLBACK,
    KillSwitchMode.KILL: Decision.KILL,
}


@pytest.mark.parametrize("mode", list(KillSwitchMode))
def test_an_explicit_limit_decides_by_mode_and_waiting_never_lifts_it(mode: KillSwitchMode) -> None:
    policy = CompiledPolicy(
        PolicySettings(
            blocked_resources=("*.env",),
            allowed_resources=("/tmp/*",),
            allowed_action_types=(READ,),
            max_risk_score=1.0,
            mode=mode,
        )
    )
    for kind, resource, rule in (
        (READ, "/tmp/.env", "blocked_resources"),
        (READ, "/srv/x", "allowed_resources"),
        (DELETE, "/tmp/x", "allowed_action_types"),
    ):
        verdict = policy.evaluate(kind, resource)
        assert verdict.decision is _LIMIT[mode]
        assert rule in verdict.rules
        assert len(verdict.reasons) == len(verdict.rules)
    assert policy.evaluate(READ, "/tmp/x").decision is Decision.ALLOW


@pytest.mark.parametrize("mode", list(KillSwitchMode))
def test_risk_and_rate_decide_by_the_mode_itself(mode: KillSwitchMode) -> None:
    policy = CompiledPolicy(PolicySettings(max_actions_per_minute=3, max_risk_score=0.7, mode=mode))
    assert policy.evaluate(READ, "/tmp/x", 3).decision is Decision.ALLOW
    assert policy.evaluate(READ, "/tmp/x", 4).decision is mode.decision
    assert policy.evaluate(READ, "/tmp/x", risk=0.7).decision is mode.decision
    assert policy.evaluate(READ, "/tmp/x", risk=0.5).decision is Decision.ALERT
    assert policy.evaluate(READ, "/tmp/x", risk=0.499).decision is Decision.ALLOW


def test_the_most_severe_of_several_wins_and_all_are_named() -> None:
    verdict = CompiledPolicy(PolicySettings(blocked_resources=("*",), max_actions_per_minute=1)).evaluate(
        READ, "/tmp/x", 2
    )
    assert verdict.decision is Decision.BLOCK
    assert verdict.rules == ("blocked_resources", "max_actions_per_minute")


def test_a_further_resource_is_blocked_but_needs_not_be_allowed() -> None:
    policy = CompiledPolicy(PolicySettings(allowed_resources=("process:*",), blocked_resources=("*.env",)))
    spawn = ActionType.PROCESS_SPAWN
    assert policy.evaluate(spawn, "process:/bin/cat", also=["/srv/readme"]).decision is not Decision.BLOCK
    verdict = policy.evaluate(spawn, "process:/bin/cat", also=["/srv/readme", "/srv/.env"])
    assert verdict.decision is Decision.BLOCK
    assert "/srv/.env" in verdict.reasons[0]


@given(st.sampled_from(list(ActionType)), st.text(max_size=40), st.integers(0, 200), st.floats(0, 1))
def test_a_verdict_is_pure_within_bounds_and_never_less_severe_for_more_risk(
    kind: ActionType, resource: str, recent: int, risk: float
) -> None:
    policy = CompiledPolicy(PolicySettings(max_actions_per_minute=60))
    verdict = policy.evaluate(kind, resource, recent)
    assert verdict == policy.evaluate(kind, resource, recent)
    assert 0 <= verdict.risk <= 1
    riskier = policy.evaluate(kind, resource, recent, risk=min(1.0, risk + 0.2)).decision
    assert SEVERITY[riskier] >= SEVERITY[policy.evaluate(kind, resource, recent, risk=risk).decision]


def test_what_destroys_is_riskier_than_what_reads_and_secrets_than_scratch() -> None:
    model = StaticRiskModel()
    assert model.assess(DELETE, "/tmp/x").risk > model.assess(WRITE, "/tmp/x").risk > model.assess(READ, "/tmp/x").risk
    assert model.assess(READ, "/home/u/.ssh/id_rsa").risk > model.assess(READ, "/tmp/x").risk
    assert model.destructiveness(ActionType.TOOL_CALL, "tool:deleteUser") == 0.85
    assert model.destructiveness(ActionType.TOOL_CALL, "tool:get_user") == 0.1
    replaced = StaticRiskModel(RiskTables(default_sensitivity=1.0))
    assert replaced.assess(DELETE, "/tmp/x").risk == 0.8


def test_a_policy_file_reads_like_the_keywords(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('blocked_resources = ["*.env"]\nmode = "block"\nmax_risk_score = 0.9\n')
    (tmp_path / "p.json").write_text('{"blocked_resources":["*.env"],"mode":"block","max_risk_score":0.9}')
    expected = PolicySettings(blocked_resources=("*.env",), mode=KillSwitchMode.BLOCK, max_risk_score=0.9)
    assert load_policy(tmp_path / "p.toml") == load_policy(tmp_path / "p.json") == expected
    assert load_policy(tmp_path / "p.toml").version == expected.version


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.toml", 'mode = "stop"', ["p.toml", "mode"]),
        ("p.toml", "max_risk_score = 2", ["p.toml", "max_risk_score"]),
        ("p.toml", "max_actions_per_minute = 0", ["max_actions_per_minute"]),
        ("p.toml", 'blocked_resource = ["x"]', ["p.toml", "blocked_resource"]),
        ("p.toml", "= broken", ["p.toml"]),
        ("p.json", "{", ["p.json"]),
        ("p.json", "[]", ["p.json"]),
        ("p.json", '{"blocked_resources":[1]}', ["blocked_resources"]),
        ("p.ini", "", [".toml"]),
        ("p.json", "\udcff", ["p.json"]),
    ],
)
def test_a_policy_that_cannot_be_used_says_which_file_and_member(
    tmp_path: Path, name: str, text: str, says: list[str]
) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert [part for part in says if part not in str(caught.value)] == []


def test_a_policy_file_that_is_not_there_or_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml"):
        load_policy(tmp_path / "none.toml")
    (tmp_path / "big.json").write_bytes(b" " * (MAX_POLICY_BYTES + 1))
    with pytest.raises(PolicyError, match="larger"):
        load_policy(tmp_path / "big.json")


@given(st.binary(max_size=200))
def test_no_bytes_bring_the_loader_down(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("policy") / "p.toml"
    path.write_bytes(content)
    with contextlib.suppress(PolicyError):
        load_policy(path)
