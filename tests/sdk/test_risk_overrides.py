"""A deployment's own figures count for the SDK and for the stream alike, and change the policy's version."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultak.errors import PolicyError
from vaultak.policy import CompiledPolicy, PolicySettings, load_policy
from vaultak.policy.risk_overrides import RiskOverrides
from vaultak.wire import ActionType, Decision
from vaultak_streams.judging import make_pipeline

TEXT = """
max_risk_score = 0.7
[risk]
default_sensitivity = 0.3
[risk.destructiveness]
file_read = 0.2
[risk.verbs]
archive = 0.9
[risk.sensitivity]
"/srv/ledger/public/*" = 0.0
"/srv/ledger/*" = 1.0
"""


def _settings(tmp_path: Path, text: str = TEXT) -> PolicySettings:
    (tmp_path / "p.toml").write_text(text)
    return load_policy(tmp_path / "p.toml")


def test_what_is_named_counts_and_the_rest_keeps_its_default(tmp_path: Path) -> None:
    policy = CompiledPolicy(_settings(tmp_path))

    def static(kind: ActionType, resource: str) -> tuple[float, float]:
        found = policy.evaluate(kind, resource).static
        return found.destructiveness, found.sensitivity

    assert static(ActionType.FILE_READ, "/srv/ledger/2026.csv") == (0.2, 1.0)
    assert static(ActionType.FILE_READ, "/srv/ledger/public/2026.csv") == (0.2, 0.0), "the first pattern counts"
    assert static(ActionType.FILE_DELETE, "/root/.ssh/id_rsa") == (0.8, 1.0)
    assert static(ActionType.FILE_DELETE, "/srv/x") == (0.8, 0.3)
    assert static(ActionType.TOOL_CALL, "tool:archive_order")[0] == 0.9
    assert policy.evaluate(ActionType.TOOL_CALL, "tool:archive_ledger").decision is not Decision.BLOCK


def test_the_stream_judges_by_the_same_figures(tmp_path: Path) -> None:
    from models.acting import Script  # noqa: TID251 - the tests' own package

    script = Script()
    script.act("file_read", "/srv/ledger/2026.csv")
    script.act("database_query", "db://main/ledger", sql="archive ledger")
    for policy, expected in [(_settings(tmp_path), (0.2, 1.0, 0.9)), (PolicySettings(), (0.1, 0.4, 0.15))]:
        judged = make_pipeline(policy)._engine.judge(script.events, {})
        factors = [a.factors for a in judged if a is not None]
        assert (factors[0].destructiveness, factors[0].sensitivity, factors[1].destructiveness) == expected


def test_the_version_tells_one_set_of_figures_from_another(tmp_path: Path) -> None:
    one = RiskOverrides(sensitivity={"/a/*": 0.1, "/a/b/*": 0.9})
    other = RiskOverrides(sensitivity={"/a/b/*": 0.9, "/a/*": 0.1})
    versions = {PolicySettings(risk=risk).version for risk in (None, RiskOverrides(), one, other)}
    assert len(versions) == 4
    assert _settings(tmp_path).version == _settings(tmp_path).version


@pytest.mark.parametrize(
    "text",
    [
        "[risk.verbs]\narchive = 1.5",
        "[risk.verbs]\nArchive = 0.5",
        "[risk.destructiveness]\nfly = 0.5",
        "[risk]\nx = 1",
    ],
)
def test_a_figure_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyError, match=r"p\.toml"):
        _settings(tmp_path, text)
