"""What the ceilings of a synthetic session may and may not know."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from calm import metrics
from calm.data.preparation import prepare
from calm.data.session import Session
from calm.synthetic.ceilings import as_forecasts, known_rates, known_state
from calm.synthetic.maze import CYCLE, IMAGE_RATE, PLANES
from calm.synthetic.truth import simulate_session

CONTEXT = 20


def recorded(truth, *, noise=0.0):
    """The session as a reader yields it: the frames of each trial, planes side by side."""
    planes = [truth.traces(plane) for plane in range(PLANES)]
    rng, traces = np.random.default_rng(0), []
    for first, frames in zip(truth.trial_starts, truth.trial_volumes, strict=True):
        clean = np.concatenate([planes[k][:, start : start + frames] for k, start in enumerate(first)])
        traces.append(clean + rng.normal(0, noise, clean.shape))
    count = len(truth.neurons)
    return Session(
        name=truth.name,
        subject="5",
        rate=6.0,
        traces=tuple(traces),
        behaviour=tuple(np.empty((trace.shape[1], 0)) for trace in traces),
        behaviour_names=(),
        trials=pd.DataFrame({"trial": range(len(traces))}),
        neurons=pd.DataFrame({"neuron": range(count)}),
    )


def changed(truth, trial, spikes):
    """The truth with other spikes after the context of a trial, in every plane."""
    other = truth.spikes.copy()
    for plane in range(PLANES):
        rows = truth.of_plane(plane)
        other[rows, truth.trial_starts[trial, plane] + CONTEXT :] = spikes
    return dataclasses.replace(truth, spikes=other)


def test_ceilings_begin_with_the_trace_of_the_context(simulated):
    raw, trials = recorded(simulated[1]), np.array([3, 0])
    for ceiling in (known_rates(simulated[1], trials, CONTEXT), known_state(simulated[1], trials, CONTEXT, draws=2)):
        for trial, trace in zip(trials, ceiling, strict=True):
            assert trace.shape == raw.traces[trial].shape
            np.testing.assert_allclose(trace[:, :CONTEXT], raw.traces[trial][:, :CONTEXT], atol=1e-5)


def test_a_context_as_long_as_the_trial_gives_its_noise_free_trace(simulated):
    (trace,) = known_rates(simulated[1], np.array([7]), 1000)
    np.testing.assert_allclose(trace, recorded(simulated[1]).traces[7], atol=1e-5)


@pytest.mark.parametrize("ceiling", [known_rates, known_state])
def test_ceilings_use_no_spikes_behind_the_context(simulated, ceiling):
    before, after = (ceiling(truth, np.array([4]), CONTEXT)[0] for truth in (simulated[1], changed(simulated[1], 4, 9)))
    np.testing.assert_array_equal(before, after)


def test_known_rates_filter_the_spikes_of_the_past_and_the_rates_of_the_future(simulated, tiny):
    _, truth = simulated
    trial, plane = 6, 1
    neurons, start = truth.of_plane(plane), truth.trial_starts[trial, plane]
    frames = truth.trial_volumes[trial]
    events = truth.spikes[neurons, : start + frames].astype(float)
    events[:, start + CONTEXT :] = truth.rates(plane)[:, start + CONTEXT : start + frames]
    times = np.arange(start + frames) * CYCLE / IMAGE_RATE
    kernel = np.exp(-times / tiny.decay) - np.exp(-times / tiny.rise)
    calcium = np.array([np.convolve(row, kernel)[: start + frames] for row in events])
    table = truth.neurons.iloc[neurons]
    expected = table["rest"].to_numpy()[:, None] + table["amplitude"].to_numpy()[:, None] * calcium
    forecast = known_rates(truth, np.array([trial]), CONTEXT)[0][neurons]
    np.testing.assert_allclose(forecast, expected[:, start:], atol=1e-5)


def test_ceilings_agree_where_nothing_is_left_to_chance(plan, tiny):
    truth = simulate_session(plan, tiny.changed(latent_noise=0.0, speed=0.0))[1]
    trials = np.array([1, 2])
    ceilings = known_rates(truth, trials, CONTEXT), known_state(truth, trials, CONTEXT, draws=2)
    for rates, state in zip(*ceilings, strict=True):
        np.testing.assert_allclose(rates, state, atol=5e-3)  # the truth is kept in float32


def test_known_state_knows_less_than_known_rates_and_more_than_nothing(plan, tiny):
    truth = simulate_session(plan, tiny.changed(trials=30, latent_noise=1.0))[1]
    raw = recorded(truth, noise=tiny.imaging_noise)
    prepared = prepare(raw, seed=0, smoothing=0.15)
    trials = np.arange(30)
    future = [prepared.traces[trial][:, CONTEXT:] for trial in trials]
    rates, state = (
        metrics.trial_mse(
            np.concatenate(future, axis=1),
            np.concatenate(as_forecasts(ceiling, prepared, trials, CONTEXT, 0.15), axis=1),
        )
        for ceiling in (known_rates(truth, trials, CONTEXT), known_state(truth, trials, CONTEXT))
    )
    assert rates < state < np.mean([np.mean(trace**2) for trace in future])


def test_forecasts_are_smoothed_and_scaled_like_the_session(simulated):
    raw = recorded(simulated[1])
    prepared = prepare(raw, seed=0, smoothing=0.15)
    forecasts = as_forecasts([raw.traces[trial] for trial in (2, 5)], prepared, np.array([2, 5]), CONTEXT, 0.15)
    for trial, forecast in zip((2, 5), forecasts, strict=True):
        np.testing.assert_allclose(forecast, prepared.traces[trial][:, CONTEXT:], atol=1e-5)
