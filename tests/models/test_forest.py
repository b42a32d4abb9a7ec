"""The forest that numpy scores is the one that scikit-learn fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultak_models.exits import ExitForest, scorer
from vaultak_models.forest import Forest, compile_forest
from vaultak_models.model import RiskModel

ensemble = pytest.importorskip("sklearn.ensemble")


@pytest.fixture(scope="module")
def fitted() -> tuple[object, np.ndarray]:
    rng = np.random.default_rng(7)
    rows = np.where(rng.random((3_000, 15)) < 0.6, 0.0, rng.gamma(1.0, 2.0, (3_000, 15)))
    return ensemble.IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(rows), rows


def test_scores_equal_scikit_learns(fitted: tuple[object, np.ndarray]) -> None:
    model, rows = fitted
    odd = np.vstack([rows, rows * 7.3, np.full((1, 15), 12.0), np.zeros((1, 15))])
    np.testing.assert_allclose(compile_forest(model).score(odd), -model.score_samples(odd), rtol=0, atol=1e-9)  # type: ignore[attr-defined]


def test_a_rows_score_does_not_depend_on_its_company(fitted: tuple[object, np.ndarray]) -> None:
    model, rows = fitted
    for score in (compile_forest(model).score, ExitForest(compile_forest(model)).score):
        together = score(rows[:1257])
        assert [score(rows[i : i + 1])[0] for i in range(257)] == together[:257].tolist()
        assert np.concatenate([score(rows[:100]), score(rows[100:1257])]).tolist() == together.tolist()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    samples=st.sampled_from([2, 3, 64, 65, 128, 256]),
    trees=st.integers(1, 30),
    zeros=st.floats(0, 1),
)
def test_leaf_by_leaf_is_node_by_node(seed: int, samples: int, trees: int, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    rows = np.where(rng.random((600, 7)) < zeros, 0.0, rng.normal(0.0, 3.0, (600, 7)).round(1))
    model = ensemble.IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed).fit(rows)
    forest = compile_forest(model)
    odd = np.vstack([rows, rows * 1e6, forest.threshold[np.isfinite(forest.threshold)][:6, None].repeat(7, 1)])
    np.testing.assert_allclose(ExitForest(forest).score(odd), forest.score(odd), rtol=0, atol=1e-12)


def test_a_forest_too_large_for_tables_is_scored_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultak_models.exits.MAX_TABLE_BYTES", 1_000)
    forest = RiskModel.load().forest
    rows = np.ones((3, 15))
    assert scorer(forest)(rows).tolist() == forest.score(rows).tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 0},
        {"depth": 40},
        {"samples": 1},
        {"feature": np.full((2, 7), 99, np.int32)},
        {"feature": np.full((2, 7), -1, np.int32)},
        {"path": np.full((2, 7), np.nan)},
        {"threshold": np.zeros((2, 3))},
    ],
)
def test_a_forest_that_is_not_one_is_refused(change: dict[str, object]) -> None:
    sound = Forest(np.zeros((2, 7), np.int32), np.zeros((2, 7)), np.ones((2, 7)), 2, 256)
    sound.check(15)
    with pytest.raises(ValueError):
        sound._replace(**change).check(15)  # type: ignore[arg-type]
