"""The forest that numpy scores is the one that scikit-learn fitted."""

from __future__ import annotations

import numpy as np
import pytest

from vaultak_models.forest import Forest, compile_forest

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
    forest = compile_forest(model)
    together = forest.score(rows[:257])
    assert [forest.score(rows[i : i + 1])[0] for i in range(257)] == together.tolist()
    assert np.concatenate([forest.score(rows[:100]), forest.score(rows[100:257])]).tolist() == together.tolist()


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
