"""Properties of the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from calm import metrics

TRACES = arrays(np.float64, (3, 12), elements=st.floats(-1e3, 1e3, allow_subnormal=False))


@given(TRACES, TRACES)
def test_pearson_is_bounded_symmetric_and_finite(first, second):
    forward = metrics.pearson(first, second)
    assert np.all(np.abs(forward) <= 1)
    np.testing.assert_array_equal(forward, metrics.pearson(second, first))


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_pearson_agrees_with_scipy_and_ignores_scale_and_offset(seed, scale, offset):
    first, second = np.random.default_rng(seed).normal(size=(2, 20))
    assert metrics.pearson(first, second) == pytest.approx(stats.pearsonr(first, second).statistic)
    assert metrics.pearson(first, scale * second + offset) == pytest.approx(metrics.pearson(first, second), abs=1e-6)


@given(st.floats(-1e6, 1e6, width=32))
def test_constant_series_correlates_at_zero(level):
    assert metrics.pearson(np.full(50, level, np.float32), np.arange(50.0, dtype=np.float32)) == 0


def test_nan_is_not_hidden():
    assert np.isnan(metrics.pearson(np.array([0.0, np.nan, 1.0]), np.arange(3.0)))


def test_perfect_prediction_scores_perfectly():
    true = [np.random.default_rng(0).normal(size=(4, frames)) for frames in (10, 15)]
    assert metrics.trial_correlation(true[0], true[0]) == pytest.approx(1)
    assert metrics.trial_mse(true[0], true[0]) == metrics.pooled_mse(true, true) == 0
    assert metrics.trial_r2(true[0], true[0]) == metrics.pooled_r2(true, true) == 1


def test_predicting_the_mean_scores_zero_r2():
    true = np.random.default_rng(0).normal(size=(4, 30))
    mean = np.repeat(true.mean(axis=1, keepdims=True), 30, axis=1)
    assert metrics.trial_r2(true, mean) == pytest.approx(0)


def test_pooled_scores_weigh_frames_and_trial_scores_weigh_trials():
    true = [np.zeros((1, 10)), np.zeros((1, 30))]
    predicted = [np.ones((1, 10)), np.zeros((1, 30))]
    assert np.mean([metrics.trial_mse(*pair) for pair in zip(true, predicted, strict=True)]) == 0.5
    assert metrics.pooled_mse(true, predicted) == 0.25


def test_pooled_r2_credits_differences_between_trials():
    true = [np.array([[0.0, 0.1]]), np.array([[5.0, 5.1]])]
    levels = [np.full((1, 2), 0.05), np.full((1, 2), 5.05)]
    assert metrics.pooled_r2(true, levels) > 0.99
    assert metrics.trial_r2(true[0], levels[0]) == pytest.approx(0)


def test_correlation_over_time_is_per_lag_across_trials():
    rng = np.random.default_rng(0)
    true = [rng.normal(size=(5, horizon)) for horizon in (8, 8, 8, 6, 6)]
    predicted = [np.where(np.arange(trace.shape[1]) < 4, trace, -trace) for trace in true]
    np.testing.assert_allclose(metrics.correlation_over_time(true, predicted), [1, 1, 1, 1, -1, -1, -1, -1])


def test_lags_that_too_few_trials_reach_are_nan():
    true = [np.random.default_rng(trial).normal(size=(2, horizon)) for trial, horizon in enumerate((5, 5, 3))]
    assert np.isnan(metrics.correlation_over_time(true, true)).tolist() == [False] * 3 + [True] * 2


def test_share_of_ceiling():
    assert metrics.share_of_ceiling(0.35, 0.7) == pytest.approx(0.5)
    assert np.isnan(metrics.share_of_ceiling(0.35, 0.0))
