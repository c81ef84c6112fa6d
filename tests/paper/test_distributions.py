"""Forecast distributions: calibrated ones score as such, and nothing of the test trials makes them."""

import numpy as np
import pytest

from calm.baselines.linear import RidgeVAR
from calm.baselines.validation import compared_trials
from calm.config.fitting import ForecastConfig
from calm.config.rivals import VARConfig
from calm.data.preparation import prepare
from calm.data.session import cut_trials
from calm.metrics import distribution_scores
from calm.models.interfaces import Sampler
from calm.paper.experiments.distributions import add_decoding_noise, draw_residuals, score_distributions
from calm.paper.experiments.methods import MethodSet
from calm.paper.results import Results
from calm.training.forecasting import CalMForecaster
from calm.training.reconstruction import reconstruct

CONFIG = ForecastConfig(context=8, horizon=6, samples=19)


@pytest.fixture(scope="module")
def session(make_session):
    return prepare(make_session([16] * 200, neurons=4), seed=0)


@pytest.fixture
def zeros(session):
    """The best forecast of white noise, by split."""
    trials = {split: compared_trials(session, split, CONFIG) for split in ("val", "test")}
    return {split: {("zero", ""): [np.zeros((4, 6), np.float32)] * len(each)} for split, each in trials.items()}


def scored(session, forecasts, methods=None):
    results = Results("simulation", seed=0)
    score_distributions(results, MethodSet(methods or {}), forecasts, session, CONFIG, item="fig3b", group="held-in")
    return results.table("fig3b_distribution")


def test_residuals_of_validation_trials_are_the_distribution_of_white_noise(session, zeros):
    rows = scored(session, zeros)
    assert set(rows["method"]) == {"zero"} and set(rows["variant"]) == {"residuals"} and set(rows["n"]) == {30}
    values = rows.set_index("metric")["value"]
    assert values["crps"] == pytest.approx(1 / np.sqrt(np.pi), abs=0.05)  # of a standard normal one, about itself
    for share in (0.5, 0.9):
        error = np.sqrt(share * (1 - share) / (30 * 4 * 6))
        assert abs(values[f"coverage {round(100 * share)}"] - share) < 3 * error


def test_the_spread_is_that_of_the_validation_trials_alone(session, zeros):
    usual = scored(session, zeros).set_index("metric")["value"]
    wide = [forecast + 10 * (-1) ** trial for trial, forecast in enumerate(zeros["val"]["zero", ""])]
    far = scored(session, zeros | {"val": {("zero", ""): wide}}).set_index("metric")["value"]
    assert far["coverage 50"] > 0.95 and far["crps"] > 2 * usual["crps"]


def test_residuals_keep_the_scale_of_each_neuron_and_moment():
    sd = np.array([1.0, 10.0])[:, None] * np.array([1.0, 2.0, 4.0])
    residuals = sd * np.random.default_rng(0).normal(size=(400, 2, 3))
    drawn = draw_residuals(residuals, 5000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.std(axis=0), sd, rtol=0.1)
    assert not draw_residuals(np.zeros((5, 2, 3)), 7, np.random.default_rng(0)).any()


def test_methods_that_draw_futures_are_scored_by_what_they_draw(session, zeros):
    var = RidgeVAR(VARConfig(orders=(1,), penalties=(1.0,)), CONFIG).fit(session)
    assert isinstance(var, Sampler)
    rows = scored(session, zeros, {("ridge VAR", ""): var}).query("method == 'ridge VAR'")
    contexts, futures = cut_trials(session, compared_trials(session, "test", CONFIG), 8, 6)
    samples = var.sample(contexts, [6] * len(contexts))
    expected = np.mean([distribution_scores(*pair)["crps"] for pair in zip(futures, samples, strict=True)])
    assert rows.set_index(["variant", "metric"])["value"]["sampled", "crps"] == pytest.approx(expected)


def test_calm_is_scored_once_with_and_without_what_its_decoder_leaves_out(dat, quantizer, uneven):
    config = ForecastConfig(context=12, horizon=6, samples=3)
    ways = {"greedy": ("greedy", 1), "mean of 3": ("sample", 3)}
    methods = {
        ("CalM", way): CalMForecaster(dat, quantizer, "uneven", config, choice=choice, samples=samples)
        for way, (choice, samples) in ways.items()
    }
    results = Results("simulation", seed=0)
    score_distributions(results, MethodSet(methods), {"val": {}, "test": {}}, uneven, config, item="fig3b")
    rows = results.table("fig3b_distribution").query("metric == 'crps'")
    assert rows["variant"].tolist() == ["sampled", "sampled, decoding noise"] and rows["value"].nunique() == 2


def test_decoding_noise_is_the_error_of_reconstruction_on_validation_trials(quantizer, uneven):
    samples = [np.zeros((7, 5, 9), np.float32)]
    (noisy,) = add_decoding_noise(samples, quantizer, uneven, np.random.default_rng(0))
    trials = uneven.trials_of("val")
    decoded, _ = reconstruct(quantizer, uneven, trials)
    errors = [uneven.traces[trial][:, : each.shape[1]] - each for trial, each in zip(trials, decoded, strict=True)]
    known = {frame.tobytes() for frame in np.concatenate(errors, axis=1).T}
    drawn = [frame.tobytes() for frame in noisy.swapaxes(0, 1).reshape(5, -1).T]
    assert set(drawn) <= known and len(set(drawn)) > 1
