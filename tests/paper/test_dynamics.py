"""Low-dimensional dynamics: components, correlations along them, and what trials have in common."""

import numpy as np
import pandas as pd
import pytest

from calm.metrics import trial_correlation
from calm.paper.embeddings.dynamics import (
    COMPONENT_CORR,
    NEURON_CORR,
    ForecastSession,
    add_dynamics,
    others_mean,
    shuffle_trials,
)
from calm.paper.results import Results, check

METHOD = ("CalM", "greedy")


def trials_of(shared, own, *, trials=60, neurons=30, frames=24, seed=0):
    """Traces that follow a course common to all trials and one of their own, with these standard deviations.

    Both are independent from frame to frame and from neuron to neuron.
    """
    rng = np.random.default_rng(seed)
    course = shared * rng.normal(size=(neurons, frames))
    return [course + own * rng.normal(size=(neurons, frames)) for _ in range(trials)]


def test_components_are_orthonormal_as_many_as_there_are_and_ordered_by_variance():
    futures = trials_of(0, 1, neurons=12)
    few = session_of(futures, futures)
    assert few.components.n_components_ == 12
    found = session_of(trials_of(0, 1, neurons=35), []).components
    assert found.n_components_ == 20
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(20), atol=1e-10)
    assert np.all(np.diff(found.explained_variance_) <= 0)
    frames = np.concatenate(futures, axis=1)
    assert np.square(few.project(futures)).sum() == pytest.approx(
        np.square(frames - frames.mean(1, keepdims=True)).sum()
    )


def session_of(futures, forecasts, name="s"):
    return ForecastSession(name, np.arange(len(futures)) + 3, futures, {METHOD: forecasts})


def test_a_perfect_forecast_correlates_at_1_and_its_negative_at_minus_1():
    futures = trials_of(1, 1, trials=10)
    perfect = session_of(futures, futures)
    np.testing.assert_allclose(perfect.correlations(METHOD), 1)
    np.testing.assert_allclose(perfect.by_trial(METHOD)[NEURON_CORR], 1)
    np.testing.assert_allclose(session_of(futures, [-future for future in futures]).correlations(METHOD), -1)


def test_the_correlation_along_a_component_is_that_of_the_projections():
    futures, forecasts = trials_of(1, 1, trials=3), trials_of(1, 1, trials=3, seed=1)
    session = session_of(futures, forecasts)
    direction = session.components.components_[4]
    for trial in range(3):
        expected = np.corrcoef(direction @ futures[trial], direction @ forecasts[trial])[0, 1]
        assert session.correlations(METHOD)[trial, 4] == pytest.approx(expected)
        neurons = session.by_trial(METHOD)[NEURON_CORR][trial]
        assert neurons == pytest.approx(trial_correlation(futures[trial], forecasts[trial]))


def test_pairs_hold_every_trial_with_every_forecast():
    futures, forecasts = trials_of(1, 1, trials=4), trials_of(1, 1, trials=4, seed=1)
    session = session_of(futures, forecasts)
    pairs = session.pairs(METHOD)
    np.testing.assert_allclose(np.diag(pairs), session.correlations(METHOD).mean(axis=1))
    swapped = session_of(futures, [forecasts[trial] for trial in (1, 0, 3, 2)])
    np.testing.assert_allclose(swapped.correlations(METHOD).mean(axis=1), pairs[range(4), [1, 0, 3, 2]])
    np.testing.assert_allclose(others_mean(pairs)[[0, 3]], [pairs[0, 1:].mean(), pairs[3, :3].mean()])
    assert np.isnan(others_mean(pairs[:1, :1])).all()


@pytest.mark.parametrize(("shared", "own"), [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0)])
def test_shuffled_trials_keep_what_trials_have_in_common(shared, own):
    futures = trials_of(shared, own, trials=80, frames=100)
    session = session_of(futures, futures)
    # A forecast that is right in everything: with another trial it has the common course in common.
    draws = shuffle_trials([session.pairs(METHOD)], draws=200, seed=0)
    assert draws[0] == pytest.approx(1)
    # What the average over trials gives, of which each trial is a part itself.
    average = session.project([np.mean(futures, axis=0)])[0]
    true = session.project(futures)
    common = np.mean([np.corrcoef(*pair)[0, 1] ** 2 for trial in true for pair in zip(trial, average, strict=True)])
    assert draws[1:].mean() == pytest.approx(common, abs=0.03)
    if shared == 0:
        assert abs(draws[1:].mean()) < 0.03


def test_the_mean_over_shuffles_is_that_of_all_pairs():
    pairs = [np.random.default_rng(seed).normal(size=(size, size)) for seed, size in enumerate((5, 9))]
    draws = shuffle_trials(pairs, draws=4000, seed=0)
    assert draws[0] == pytest.approx(np.mean([np.diag(each).mean() for each in pairs]))
    assert draws[1:].mean() == pytest.approx(np.mean([each.mean() for each in pairs]), abs=0.02)


def test_a_forecast_of_the_average_trial_is_no_better_than_shuffled():
    futures = trials_of(1, 1)
    average = [np.mean(futures, axis=0)] * len(futures)
    draws = shuffle_trials([session_of(futures, average).pairs(METHOD)], draws=50, seed=0)
    np.testing.assert_allclose(draws, draws[0])
    assert draws[0] > 0.5


def test_pearson_of_pairs_knows_neither_scale_nor_offset():
    futures, forecasts = trials_of(1, 1, trials=5), trials_of(1, 1, trials=5, seed=1)
    scaled = session_of(futures, [3 * forecast + 7 for forecast in forecasts])
    np.testing.assert_allclose(scaled.pairs(METHOD), session_of(futures, forecasts).pairs(METHOD))


@pytest.fixture
def results():
    """Two sessions with good and bad forecasts of ten trials."""
    sessions = []
    for number in range(2):
        futures = trials_of(1, 1, trials=10, neurons=5, seed=number)
        near = [future + 0.5 * np.random.default_rng(9).normal(size=future.shape) for future in futures]
        forecasts = {METHOD: near, ("POCO", ""): trials_of(1, 1, trials=10, neurons=5, seed=7)}
        sessions.append(ForecastSession(f"s{number}", np.arange(10) + 3, futures, forecasts))
    found = Results("cohort", seed=0)
    add_dynamics(found, "held-in", sessions, draws=30)
    return found


def test_scores_are_of_sessions_trials_components_and_shuffles(results):
    assert set(results.items) == {"fig5c", "fig5c_trials", "fig5c_components", "fig5c_shuffles"}
    for item in results.items:
        check(results.table(item), item)
        assert set(results.table(item)["group"]) == {"held-in"}
    means = results.table("fig5c").pivot_table(index=["method", "variant"], columns="metric", values="value")
    weighted, others = f"{COMPONENT_CORR}, weighted", f"{COMPONENT_CORR}, other trials"
    assert set(means) == {COMPONENT_CORR, NEURON_CORR, weighted, others}
    assert set(means.index) == {METHOD, ("POCO", "")}
    trials = results.table("fig5c_trials").query("method == 'CalM' and metric == @COMPONENT_CORR")
    assert sorted(trials["trial"].unique()) == list(range(3, 13))
    components = results.table("fig5c_components")
    calm = components.query("method == 'CalM' and session == 's0'")["value"].to_numpy()
    assert calm.mean() == pytest.approx(trials.query("session == 's0'")["value"].mean()) and len(calm) == 5
    shares = components.query("metric == 'share of variance' and session == 's0'")["value"].to_numpy()
    assert shares.sum() == pytest.approx(1)
    value = (
        results.table("fig5c").query("method == 'CalM' and session == 's0' and metric == @weighted")["value"].iloc[0]
    )
    assert value == pytest.approx(calm @ shares)
    draws = results.table("fig5c_shuffles").set_index(["method", "draw"])["value"]
    assert draws["CalM", 0] == pytest.approx(means.loc[METHOD, COMPONENT_CORR])
    assert isinstance(draws["POCO"], pd.Series) and len(draws["POCO"]) == 31
