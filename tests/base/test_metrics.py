"""Properties of the scores."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import r2_score

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


@given(st.floats(-1e6, 1e6, width=32), st.sampled_from([np.float32, np.float64]))
@example(0.1, np.float64)  # whose mean is off by rounding
def test_constant_series_correlates_at_zero(level, dtype):
    assert metrics.pearson(np.full(49, level, dtype), np.arange(49, dtype=dtype)) == 0


def test_poco_score_refuses_another_number_of_trials():
    true, last = [np.ones((2, 3)), np.ones((2, 4))], [np.zeros((2, 1))] * 2
    with pytest.raises(ValueError, match="zip"):
        metrics.poco_score(true, true[:1], last)


def test_nan_is_not_hidden():
    assert np.isnan(metrics.pearson(np.array([0.0, np.nan, 1.0]), np.arange(3.0)))


def test_perfect_prediction_scores_perfectly():
    true = [np.random.default_rng(0).normal(size=(4, frames)) for frames in (10, 15)]
    assert metrics.trial_correlation(true[0], true[0]) == pytest.approx(1)
    assert metrics.trial_mse(true[0], true[0]) == 0


def behaviour(frames=40, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(frames, channels)), rng.normal(size=(frames, channels))


def test_channel_scores_are_the_textbook_formulas():
    true, predicted = behaviour()
    scores = metrics.channel_scores(true, predicted)
    errors = ((true - predicted) ** 2).sum(axis=0)
    np.testing.assert_allclose(scores["r2"], 1 - errors / ((true - true.mean(axis=0)) ** 2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scores["r2"], r2_score(true, predicted, multioutput="raw_values"), rtol=1e-12)
    np.testing.assert_allclose(scores["mse"], errors / 40, rtol=1e-12)
    expected = [stats.pearsonr(true[:, channel], predicted[:, channel]).statistic for channel in range(3)]
    np.testing.assert_allclose(scores["corr"], expected, rtol=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_r2_does_not_depend_on_units_and_is_at_most_the_squared_correlation(seed, scale, offset):
    true, predicted = behaviour(seed=seed)
    scores = metrics.channel_scores(true, predicted)
    scaled = metrics.channel_scores(scale * true + offset, scale * predicted + offset)
    np.testing.assert_allclose(scaled["r2"], scores["r2"], rtol=1e-6, atol=1e-6)
    assert (scores["r2"] <= scores["corr"] ** 2 + 1e-12).all()


def test_perfect_decoding_scores_one_and_the_mean_scores_zero():
    true, _ = behaviour()
    perfect = metrics.channel_scores(true, true)
    assert (perfect["r2"] == 1).all() and (perfect["mse"] == 0).all()
    np.testing.assert_allclose(perfect["corr"], 1, rtol=1e-12)
    mean = metrics.channel_scores(true, np.tile(true.mean(axis=0), (40, 1)))
    np.testing.assert_allclose(mean["r2"], 0, atol=1e-12)
    assert (mean["corr"] == 0).all()


def test_frames_that_were_not_recorded_do_not_count_whatever_is_predicted_there():
    true, predicted = behaviour()
    gaps = np.zeros((40, 3), dtype=bool)
    gaps[5:20, 0] = gaps[30:, 1] = True
    scores = metrics.channel_scores(np.where(gaps, np.nan, true), np.where(gaps, 1e6, predicted))
    for channel in range(3):
        kept = ~gaps[:, channel]
        alone = metrics.channel_scores(true[kept, channel : channel + 1], predicted[kept, channel : channel + 1])
        assert {name: values[0] for name, values in alone.items()} == {
            name: values[channel] for name, values in scores.items()
        }


def test_a_channel_that_does_not_change_has_an_error_but_no_r2_and_no_correlation():
    true, predicted = behaviour()
    true[:, 1], true[:, 2] = 0.1, np.nan
    scores = metrics.channel_scores(true.astype(np.float32), predicted.astype(np.float32))
    assert np.isfinite(scores["r2"]).tolist() == np.isfinite(scores["corr"]).tolist() == [True, False, False]
    assert np.isfinite(scores["mse"]).tolist() == [True, True, False]


def test_r2_over_frames_credits_differences_between_trials():
    true = [np.array([[0.0], [0.1]]), np.array([[5.0], [5.1]])]
    levels = [np.full((2, 1), 0.05), np.full((2, 1), 5.05)]
    assert metrics.channel_scores(np.concatenate(true), np.concatenate(levels))["r2"] > 0.99
    assert metrics.channel_scores(true[0], levels[0])["r2"] == pytest.approx(0)


def test_correlation_over_time_is_per_lag_across_trials():
    rng = np.random.default_rng(0)
    true = [rng.normal(size=(5, horizon)) for horizon in (8, 8, 8, 6, 6)]
    predicted = [np.where(np.arange(trace.shape[1]) < 4, trace, -trace) for trace in true]
    np.testing.assert_allclose(metrics.correlation_over_time(true, predicted), [1, 1, 1, 1, -1, -1, -1, -1])


def test_lags_that_too_few_trials_reach_are_nan():
    true = [np.random.default_rng(trial).normal(size=(2, horizon)) for trial, horizon in enumerate((5, 5, 3))]
    assert np.isnan(metrics.correlation_over_time(true, true)).tolist() == [False] * 3 + [True] * 2


def test_pocos_score_is_zero_for_the_last_frame_one_for_the_truth_and_pools_trials():
    rng = np.random.default_rng(0)
    contexts, true = ([rng.normal(size=(4, frames)) for frames in lengths] for lengths in ((9, 9), (7, 5)))
    last = [context[:, -1:] for context in contexts]
    repeated = [np.repeat(frame, trace.shape[1], axis=1) for frame, trace in zip(last, true, strict=True)]
    assert metrics.poco_score(true, repeated, last) == 0 and metrics.poco_score(true, true, last) == 1
    errors, references = (
        sum(np.square(trace - each).sum() for trace, each in zip(true, forecast, strict=True))
        for forecast in ([0, 0], repeated)
    )
    assert metrics.poco_score(true, [0 * trace for trace in true], last) == pytest.approx(1 - errors / references)


@pytest.mark.parametrize("count", [4, 32])
def test_crps_of_gaussian_samples_is_the_closed_form_however_few_they_are(count):
    rng = np.random.default_rng(0)
    mean, sd, true = rng.normal(size=(1, 5, 1)), np.array([0.5, 1, 2, 3, 4])[:, None], rng.normal(size=(5, 4000))
    crps = metrics.distribution_scores(true, mean + sd * rng.normal(size=(count, 5, 4000)))["crps"]
    z = (true - mean[0]) / sd
    closed = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert crps == pytest.approx(closed.mean(), rel=0.02)


def test_bands_of_few_samples_cover_as_often_as_they_say():
    samples = np.random.default_rng(0).normal(size=(20, 50, 200))
    scores = metrics.distribution_scores(samples[0], samples[1:])
    assert scores["coverage 50"] == pytest.approx(0.5, abs=0.015)
    assert scores["coverage 90"] == pytest.approx(0.9, abs=0.01)


def test_a_band_holds_its_bounds():
    scores = metrics.distribution_scores(np.ones((2, 3)), np.ones((20, 2, 3)))
    assert scores == {"crps": 0, "coverage 50": 1, "coverage 90": 1}


def test_bands_are_bounds_of_the_samples_in_the_middle():
    samples = np.arange(1.0, 20)[::-1, None, None] * np.ones((2, 3))  # 1 to 19
    for percent, bounds in ((50, (5, 15)), (90, (1, 19))):
        for bound, expected in zip(metrics.central_band(samples, percent), bounds, strict=True):
            np.testing.assert_allclose(bound, np.full((2, 3), expected))
