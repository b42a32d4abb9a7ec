"""Training, keeping and promoting models: what users of `vaultak model` rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultak_models.drift import DRIFTED, drift
from vaultak_models.model import RiskModel
from vaultak_models.registry import Refused, Registry, RegistryError, Window
from vaultak_models.simulate import fleet
from vaultak_models.training import Fitted, Gathering, TooLittleError, fit_model
from vaultak_models.training.sample import Row, Sample, order_of
from vaultak_streams.cli.app import main

WINDOW = Window("a test", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", 1, 1, 0)


def gathered(seed: int = 3) -> Gathering:
    gathering = Gathering(RiskModel.load())
    for events in fleet(seed, 24, 120):
        gathering.feed(events)
    return gathering


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit_model(*gathered().rows(), RiskModel.load())


@pytest.fixture
def registry(tmp_path: Path, fitted: Fitted) -> Registry:
    made = Registry(tmp_path / "models")
    made.add(fitted, WINDOW, trained_at="2026-03-03T00:00:00.000000Z")
    return made


def test_a_version_comes_back_as_it_was_made(registry: Registry, fitted: Fitted) -> None:
    (version,) = registry.versions()
    model, record = registry.load(version)
    assert (model.version, record.window, record.metrics) == (version, WINDOW, fitted.metrics)
    assert np.array_equal(model.knots, fitted.model.knots)
    again = registry.add(fitted, WINDOW, trained_at="2026-03-04T00:00:00.000000Z")
    assert again == record  # the same model is the same version


def test_too_little_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    gathering = Gathering(RiskModel.load())
    gathering.feed(next(fleet(1, 1, 50)))
    with pytest.raises(TooLittleError, match="at least"):
        fit_model(*gathering.rows(), RiskModel.load())


def test_what_was_judged_bad_does_not_train() -> None:
    clean, spoilt = gathered(), gathered()
    rows, _ = clean.rows()
    victim = rows[0]
    spoilt.mark_bad(victim.agent_id, victim.session_id, victim.ts_us)
    left, out = spoilt.rows()
    assert out > 0
    assert not [row for row in left if row.order == victim.order]


def test_a_million_agents_do_not_fill_the_memory() -> None:
    sample = Sample(agent_rows=5, all_rows=100)
    for n in range(3_000):
        sample.add(Row(order_of(f"a{n}"), f"agent-{n}", "s", 0, (1.0,)))
    again = Sample(agent_rows=5, all_rows=100)
    for n in reversed(range(3_000)):
        again.add(Row(order_of(f"a{n}"), f"agent-{n}", "s", 0, (1.0,)))
    assert 50 <= len(sample.rows()) <= 100
    assert sample.agents == len(sample.rows())
    assert len({row.agent_id for row in sample.rows()} & {row.agent_id for row in again.rows()}) >= 50


def test_however_often_one_trains_nothing_becomes_ten_times_as_ordinary(fitted: Fitted) -> None:
    anchor = RiskModel.load()
    own = np.interp(anchor.knots, fitted.model.knots, fitted.model.exceedance)
    assert (own >= anchor.exceedance - 1.0 - 1e-9).all()


def test_drift_is_none_for_the_same_and_shows_for_another(fitted: Fitted) -> None:
    rows = np.array([row.measures for row in gathered().rows()[0]])
    assert max(one.index for one in drift(fitted.reference, rows)) < 0.01
    assert max(one.index for one in drift(fitted.reference, rows * 3 + 1)) > DRIFTED


class TestPromotion:
    def test_one_judges_and_the_one_before_can_come_back(self, registry: Registry) -> None:
        (version,) = registry.versions()
        assert registry.judging() is None
        registry.promote(version)
        assert registry.judging() == registry.path(version)
        assert registry.promote(version).before == ("shipped",)  # again changes nothing
        assert registry.roll_back().version == "shipped"
        with pytest.raises(RegistryError, match="no model judged before"):
            registry.roll_back()

    @pytest.mark.parametrize("name", ["../../etc", "1-zzzzzzzzzzzz", "", "1-0123456789ab/..", "1-0123456789ab"])
    def test_what_is_no_version_is_refused(self, registry: Registry, name: str) -> None:
        with pytest.raises(RegistryError):
            registry.promote(name)

    @pytest.mark.parametrize("file", ["model.npz", "manifest.json", "record.json"])
    @settings(max_examples=25, deadline=None)
    @given(damage=st.binary(max_size=400), at=st.integers(0, 10_000))
    def test_a_damaged_version_is_refused_and_never_loaded(
        self, tmp_path_factory: pytest.TempPathFactory, fitted: Fitted, file: str, damage: bytes, at: int
    ) -> None:
        made = Registry(tmp_path_factory.mktemp("models"))
        record = made.add(fitted, WINDOW, trained_at="2026-03-03T00:00:00.000000Z")
        path = made.path(record.version) / file
        whole = path.read_bytes()
        path.write_bytes(whole[: at % len(whole)] + damage)
        if path.read_bytes() == whole:
            return
        try:
            made.promote(record.version)
        except RegistryError:
            assert isinstance(made.records()[0], Refused)
        else:  # damage that says the same: white space in JSON
            assert file != "model.npz"


def test_the_commands(registry: Registry, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        code = main(["model", *words, "--models", str(registry.directory)])
        return code, capsys.readouterr().out

    (version,) = registry.versions()
    assert run("promote", version, "--local")[0] == 0
    code, printed = run("list", "--json")
    listed: dict[str, Any] = json.loads(printed)
    assert (code, listed["judging"], listed["versions"][0]["version"]) == (0, version, version)
    assert "rows_left_out" in run("show", version)[1]
    assert run("rollback", "--local")[0] == 0
    assert run("promote", "1-0123456789ab")[0] == 1
    few = tmp_path / "few.jsonl"
    few.write_text("{}\n")
    assert run("drift", "1-0123456789ab", "--input", str(few))[0] == 2, "1 is an answer"
    assert run("train", "--input", str(few))[0] == 1
