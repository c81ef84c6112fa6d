"""Naive and linear forecasters against closed forms, references and causality."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from statsmodels.tsa.api import VAR

from calm.baselines.linear import Decay, MeanTrial, Persistence, RidgeVAR
from calm.baselines.ridge import lagged
from calm.config.fitting import ForecastConfig
from calm.config.rivals import VARConfig
from calm.data.preparation import prepare
from calm.data.session import Session, cut_trials
from calm.errors import CalmError
from calm.metrics import distribution_scores, trial_correlation
from calm.models.interfaces import BOUND

CONTEXT = 12


def session_of(traces):
    trials = pd.DataFrame({"trial": range(len(traces))})
    neurons = pd.DataFrame({"neuron": range(len(traces[0]))})
    behaviour = tuple(np.zeros((trace.shape[1], 0)) for trace in traces)
    return Session("made", "none", 5.0, tuple(traces), behaviour, (), trials, neurons)


def rotations(neurons, trials, noise, rng):
    """Trials of different length of a stable linear system with complex eigenvalues, observed completely."""
    basis, _ = np.linalg.qr(rng.normal(size=(neurons, neurons)))
    angles = rng.uniform(0.2, 0.8, neurons // 2)
    blocks = np.zeros((neurons, neurons))
    for pair, angle in enumerate(angles):
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        blocks[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] = 0.98 * rotation
    step = basis @ blocks @ basis.T
    traces = []
    for frames in rng.integers(35, 50, trials):
        states = [rng.normal(size=neurons)]
        for _ in range(frames - 1):
            states.append(step @ states[-1] + noise * rng.normal(size=neurons))
        traces.append(np.stack(states, axis=1))
    return traces


@pytest.fixture(scope="module")
def oscillators():
    return prepare(session_of(rotations(10, 40, 0.0, np.random.default_rng(0))), seed=0)


def forecasters():
    return [Persistence(), Decay(), MeanTrial(), RidgeVAR(VARConfig(), ForecastConfig(context=CONTEXT))]


def test_ridge_var_forecasts_a_linear_system(oscillators):
    model = RidgeVAR(VARConfig(penalties=(1e-3, 1.0)), ForecastConfig(context=CONTEXT)).fit(oscillators)
    trials = [oscillators.traces[trial] for trial in oscillators.trials_of("test")]
    forecasts = model.forecast([trial[:, :CONTEXT] for trial in trials], [trial.shape[1] - CONTEXT for trial in trials])
    scores = [
        trial_correlation(trial[:, CONTEXT:], forecast) for trial, forecast in zip(trials, forecasts, strict=True)
    ]
    assert min(scores) >= 0.99
    assert model.validation[model.order, model.penalty] == max(model.validation.values())


@pytest.mark.parametrize("penalty", [1.0, 1000.0])
def test_ridge_var_equals_scikit_learn(oscillators, penalty):
    model = RidgeVAR(VARConfig(orders=(3,), penalties=(penalty,)), ForecastConfig(context=CONTEXT)).fit(oscillators)
    train = [oscillators.traces[trial].astype(float) for trial in oscillators.trials_of("train")]
    design = np.concatenate([lagged(trace, 3)[:, :-1] for trace in train])
    reference = Ridge(penalty).fit(design, np.concatenate([trace[:, 3:].T for trace in train]))
    np.testing.assert_allclose(model.coefficients[:-1], reference.coef_.T, atol=1e-8)
    np.testing.assert_allclose(model.coefficients[-1], reference.intercept_, atol=1e-8)


def test_ridge_var_equals_statsmodels_in_the_small_penalty_limit():
    long = rotations(4, 1, 0.5, np.random.default_rng(1))[0]
    blocks = [np.random.default_rng(2).normal(size=(4, 30)) for _ in range(9)]
    session = prepare(session_of([long, *blocks]), seed=0)
    split = np.array(["val"] * 10, dtype=object)
    split[0] = "train"  # statsmodels knows one trial only
    session.trials["split"] = split
    model = RidgeVAR(VARConfig(orders=(2,), penalties=(1e-9,)), ForecastConfig(context=CONTEXT)).fit(session)
    reference = VAR(session.traces[0].T.astype(float)).fit(2, trend="c")
    np.testing.assert_allclose(model.coefficients[:-1], reference.params[1:], atol=1e-6)
    horizon = model.forecast([session.traces[0]], [10])[0]
    np.testing.assert_allclose(horizon.T, reference.forecast(session.traces[0].T.astype(float), 10), atol=1e-6)
    model.innovations, model.samples = reference.sigma_u, 20_000
    (samples,) = model.sample([session.traces[0]], [10])
    np.testing.assert_allclose(samples.mean(axis=0), horizon, atol=0.03)
    for lag, covariance in enumerate(reference.mse(10)):
        np.testing.assert_allclose(np.cov(samples[:, :, lag], rowvar=False), covariance, atol=0.1)


@pytest.mark.parametrize("model", forecasters(), ids=lambda model: type(model).__name__)
def test_horizons_and_batches_do_not_change_a_forecast(oscillators, model):
    model.fit(oscillators)
    contexts = [oscillators.traces[trial][:, :CONTEXT] for trial in oscillators.trials_of("test")[:3]]
    together = model.forecast(contexts, [5, 60, 1])
    assert [forecast.shape for forecast in together] == [(10, 5), (10, 60), (10, 1)]
    np.testing.assert_allclose(model.forecast(contexts[:1], [30])[0][:, :5], together[0], atol=1e-12)


@pytest.mark.parametrize("model", forecasters(), ids=lambda model: type(model).__name__)
def test_test_trials_are_never_read(oscillators, model):
    contexts, horizons = [oscillators.traces[0][:, :CONTEXT]], [20]
    expected = model.fit(oscillators).forecast(contexts, horizons)[0]
    hidden = [trace.copy() for trace in oscillators.traces]
    for trial in oscillators.trials_of("test"):
        hidden[trial][:] = np.nan
    blinded = dataclasses.replace(oscillators, traces=tuple(hidden))
    np.testing.assert_array_equal(model.fit(blinded).forecast(contexts, horizons)[0], expected)


def test_decay_is_the_closed_form_of_a_first_order_autoregression():
    rng, rates = np.random.default_rng(0), np.array([0.5, 0.9])
    traces = []
    for _ in range(40):
        states = [rng.normal(size=2)]
        for _ in range(400):
            states.append(rates * states[-1] + rng.normal(size=2) * np.sqrt(1 - rates**2))
        traces.append(np.stack(states, axis=1))
    session = prepare(session_of(traces), seed=0)
    model = Decay().fit(session)
    np.testing.assert_allclose(model.coefficient, rates, atol=0.02)
    forecast = model.forecast([session.traces[0]], [3])[0]
    expected = (session.traces[0][:, -1:] - model.mean[:, None]) * model.coefficient[:, None] ** [1, 2, 3]
    np.testing.assert_allclose(forecast, expected + model.mean[:, None])


def test_mean_trial_uses_the_trials_that_reach_a_frame_and_then_holds():
    session = prepare(
        session_of([np.random.default_rng(n).normal(size=(2, 20 + 10 * (n == 0))) for n in range(10)]), seed=0
    )
    session.trials["split"] = "train"
    forecast = MeanTrial().fit(session).forecast([session.traces[1][:, :CONTEXT]], [30])[0]
    np.testing.assert_allclose(
        forecast[:, 0], np.mean([trace[:, CONTEXT] for trace in session.traces], axis=0), atol=1e-6
    )
    np.testing.assert_allclose(forecast[:, 8:18], session.traces[0][:, 20:], atol=1e-6)
    np.testing.assert_array_equal(forecast[:, 18:], np.repeat(forecast[:, 17:18], 12, axis=1))


def test_a_diverging_rollout_stays_finite(oscillators):
    model = RidgeVAR(VARConfig(orders=(1,), penalties=(1.0,)), ForecastConfig(context=CONTEXT)).fit(oscillators)
    model.coefficients = model.coefficients * 50
    forecast = model.forecast([oscillators.traces[0][:, :CONTEXT]], [500])[0]
    assert np.abs(forecast).max() <= BOUND
    assert np.isfinite(trial_correlation(forecast, np.random.default_rng(0).normal(size=forecast.shape)))


def test_context_shorter_than_every_order_is_refused():
    with pytest.raises(CalmError, match="too short"):
        RidgeVAR(VARConfig(orders=(4, 8)), ForecastConfig(context=3))


def test_bands_of_ridge_var_cover_a_linear_system_as_often_as_they_say():
    session = prepare(session_of(rotations(6, 200, 0.3, np.random.default_rng(0))), seed=0)
    config = ForecastConfig(context=CONTEXT, horizon=20, samples=99)
    model = RidgeVAR(VARConfig(orders=(1,), penalties=(1.0,)), config).fit(session)
    contexts, futures = cut_trials(session, session.trials_of("test"), CONTEXT, 20)
    samples = model.sample(contexts, [20] * len(futures))
    scores = [distribution_scores(*pair) for pair in zip(futures, samples, strict=True)]
    for share in (0.5, 0.9):
        shares = np.array([score[f"coverage {round(100 * share)}"] for score in scores])
        assert len(shares) == 30 and abs(shares.mean() - share) < 3 * np.sqrt(share * (1 - share) / 30 / 6)
    assert len({sample.tobytes() for trial in samples for sample in trial}) == 30 * 99
