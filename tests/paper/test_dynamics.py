"""Low-dimensional dynamics: components, correlations along them, and what trials have in common."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from calm.metrics import trial_correlation
from calm.paper.embeddings.dynamics import (
    compare_dynamics,
    find_components,
    others_mean,
    project,
    shuffle_trials,
    trial_pairs,
)
from calm.paper.embeddings.dynamics_scores import (
    COMPONENT_CORR,
    ITEM,
    NEURON_CORR,
    OTHERS_CORR,
    WEIGHTED_CORR,
    DynamicsScores,
)
from calm.paper.results import check


def trials_of(shared, own, *, trials=60, neurons=30, frames=24, seed=0):
    """Traces that follow a course common to all trials and one of their own, with these standard deviations.

    Both are independent from frame to frame and from neuron to neuron.
    """
    rng = np.random.default_rng(seed)
    course = shared * rng.normal(size=(neurons, frames))
    return [course + own * rng.normal(size=(neurons, frames)) for _ in range(trials)]


def test_components_are_orthonormal_as_many_as_there_are_and_ordered_by_variance():
    futures = trials_of(0, 1, neurons=12)
    assert find_components(futures).n_components_ == 12
    found = find_components(trials_of(0, 1, neurons=35))
    assert found.n_components_ == 20
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(20), atol=1e-10)
    assert np.all(np.diff(found.explained_variance_) <= 0)
    frames = np.concatenate(futures, axis=1)
    whole = project(find_components(futures), futures)
    assert np.square(whole).sum() == pytest.approx(np.square(frames - frames.mean(1, keepdims=True)).sum())


def test_a_perfect_forecast_correlates_at_1_and_its_negative_at_minus_1():
    futures = trials_of(1, 1)
    components = find_components(futures)
    found = compare_dynamics(components, futures, futures)
    np.testing.assert_allclose(found.components, 1)
    np.testing.assert_allclose(found.neurons, 1)
    mirrored = compare_dynamics(components, futures, [-future for future in futures])
    np.testing.assert_allclose(mirrored.components, -1)


def test_the_correlation_along_a_component_is_that_of_the_projections():
    futures, forecasts = trials_of(1, 1, trials=3), trials_of(1, 1, trials=3, seed=1)
    components = find_components(futures)
    found = compare_dynamics(components, futures, forecasts)
    direction = components.components_[4]
    for trial in range(3):
        expected = np.corrcoef(direction @ futures[trial], direction @ forecasts[trial])[0, 1]
        assert found.components[trial, 4] == pytest.approx(expected)
        assert found.neurons[trial] == pytest.approx(trial_correlation(futures[trial], forecasts[trial]))


def test_pairs_hold_every_trial_with_every_forecast():
    futures, forecasts = trials_of(1, 1, trials=4), trials_of(1, 1, trials=4, seed=1)
    components = find_components(futures)
    found = compare_dynamics(components, futures, forecasts)
    np.testing.assert_allclose(np.diag(found.pairs), found.components.mean(axis=1))
    swapped = compare_dynamics(components, futures, [forecasts[trial] for trial in (1, 0, 3, 2)])
    np.testing.assert_allclose(swapped.components.mean(axis=1), found.pairs[range(4), [1, 0, 3, 2]])
    expected = [found.pairs[0, 1:].mean(), found.pairs[3, :3].mean()]
    np.testing.assert_allclose(others_mean(found.pairs)[[0, 3]], expected)
    assert np.isnan(others_mean(found.pairs[:1, :1])).all()


@pytest.mark.parametrize(("shared", "own"), [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0)])
def test_shuffled_trials_keep_what_trials_have_in_common(shared, own):
    futures = trials_of(shared, own, trials=80, frames=100)
    components = find_components(futures)
    # A forecast that is right in everything: with another trial it has the common course in common.
    draws = shuffle_trials([compare_dynamics(components, futures, futures).pairs], draws=200, seed=0)
    assert draws[0] == pytest.approx(1)
    # What the average over trials gives, of which each trial is a part itself.
    average = project(components, [np.mean(futures, axis=0)])[0]
    true = project(components, futures)
    common = np.mean([np.corrcoef(*pair)[0, 1] ** 2 for trial in true for pair in zip(trial, average, strict=True)])
    assert draws[1:].mean() == pytest.approx(common, abs=0.03)
    if shared == 0:
        assert abs(draws[1:].mean()) < 0.03


def test_the_mean_over_shuffles_is_that_of_all_pairs():
    pairs = [np.random.default_rng(seed).normal(size=(size, size)) for seed, size in enumerate((5, 9))]
    draws = shuffle_trials(pairs, draws=4000, seed=0)
    assert draws[0] == pytest.approx(np.mean([np.diag(own).mean() for own in pairs]))
    assert draws[1:].mean() == pytest.approx(np.mean([own.mean() for own in pairs]), abs=0.02)


def test_a_forecast_of_the_average_trial_is_no_better_than_shuffled():
    futures = trials_of(1, 1)
    average = [np.mean(futures, axis=0)] * len(futures)
    draws = shuffle_trials([compare_dynamics(find_components(futures), futures, average).pairs], draws=50, seed=0)
    np.testing.assert_allclose(draws, draws[0])
    assert draws[0] > 0.5


def test_pearson_of_pairs_knows_neither_scale_nor_offset():
    true, forecast = np.random.default_rng(0).normal(size=(2, 5, 4, 20))
    np.testing.assert_allclose(trial_pairs(true, 3 * forecast + 7), trial_pairs(true, forecast))


@pytest.fixture
def scores(make_session):
    """Two sessions with good and bad forecasts of ten trials."""
    found = DynamicsScores("cohort", draws=30, seed=0)
    for number in range(2):
        session = dataclasses.replace(make_session([24] * 10), name=f"s{number}")
        futures = trials_of(1, 1, trials=10, neurons=5, seed=number)
        near = [future + 0.5 * np.random.default_rng(9).normal(size=future.shape) for future in futures]
        forecasts = {("CalM", "greedy"): near, ("POCO", ""): trials_of(1, 1, trials=10, neurons=5, seed=7)}
        found.add(session, "held-in", np.arange(10) + 3, futures, forecasts)
    return found


def test_scores_become_rows_of_sessions_trials_components_and_shuffles(scores):
    tables = scores.tables()
    assert list(tables) == [ITEM, f"{ITEM}_trials", f"{ITEM}_components", f"{ITEM}_shuffles"]
    for item, rows in tables.items():
        check(rows, item)
    means = tables[ITEM].pivot_table(index=["method", "variant"], columns="metric", values="value")
    assert set(means) == {COMPONENT_CORR, NEURON_CORR, OTHERS_CORR, WEIGHTED_CORR}
    assert set(means.index) == {("CalM", "greedy, held-in"), ("POCO", "held-in")}
    trials = tables[f"{ITEM}_trials"].query("method == 'CalM' and metric == @COMPONENT_CORR")
    assert sorted(trials["trial"].unique()) == list(range(3, 13))
    components = tables[f"{ITEM}_components"]
    own = components.query("method == 'CalM' and session == 's0'")["value"]
    assert own.mean() == pytest.approx(trials.query("session == 's0'")["value"].mean()) and len(own) == 5
    share = components.query("metric == 'share of variance' and session == 's1'")
    assert share["value"].sum() == pytest.approx(1)
    weighted = tables[ITEM].query("method == 'CalM' and session == 's0' and metric == @WEIGHTED_CORR")["value"].iloc[0]
    weights = components.query("metric == 'share of variance' and session == 's0'")["value"].to_numpy()
    assert weighted == pytest.approx(own.to_numpy() @ weights)
    draws = tables[f"{ITEM}_shuffles"].set_index(["method", "draw"])["value"]
    assert draws["CalM", 0] == pytest.approx(means.loc[("CalM", "greedy, held-in"), COMPONENT_CORR])
    assert isinstance(draws["POCO"], pd.Series) and len(draws["POCO"]) == 31
