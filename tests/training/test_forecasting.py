"""Forecasts know the context only, and come back in the order and length that were asked for."""

import dataclasses

import numpy as np
import pytest
import torch

from calm.config.fitting import ForecastConfig
from calm.data.session import cut_trials
from calm.errors import CalmError
from calm.models.rollout import Rollouts
from calm.training.forecasting import CalMForecaster

CONTEXT, WINDOW = 12, 4
TRIALS = np.array([7, 0, 5, 3, 8, 1])
HORIZONS = [12, 6, 19, 6, 19, 12]  # of these trials


@pytest.fixture
def forecaster(dat, quantizer):
    """The greedy one."""
    return CalMForecaster(dat, quantizer, "uneven", ForecastConfig(), choice="greedy")


@pytest.fixture(params=["greedy", "sample", "expected"])
def either(forecaster, request):
    """Every choice, averaging three rollouts."""
    return dataclasses.replace(forecaster, choice=request.param, samples=3)


@pytest.fixture
def contexts(uneven):
    return cut_trials(uneven, TRIALS, CONTEXT)[0]


def reconstruct(quantizer, trace):
    """Reconstruction of whole windows."""
    return quantizer(torch.from_numpy(trace)).reconstruction.detach().numpy()


def assert_close(first, second):
    """Equal lists of traces, up to rounding."""
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_trials_are_cut_at_the_context_in_the_order_given(uneven):
    contexts, horizons = cut_trials(uneven, TRIALS, CONTEXT)
    assert [horizon.shape[1] for horizon in horizons] == HORIZONS
    for trial, context, horizon in zip(TRIALS, contexts, horizons, strict=True):
        np.testing.assert_array_equal(np.concatenate([context, horizon], axis=1), uneven.traces[trial])
        assert context.shape[1] == CONTEXT


def test_forecasts_have_exactly_the_frames_asked_for(either, contexts):
    assert [trace.shape for trace in either.forecast(contexts, HORIZONS)] == [(5, frames) for frames in HORIZONS]


def test_trials_keep_their_order(forecaster, contexts):
    together = forecaster.forecast(contexts, HORIZONS)
    alone = [forecaster.forecast([context], [frames])[0] for context, frames in zip(contexts, HORIZONS, strict=True)]
    assert_close(together, alone)
    assert len({trace.tobytes() for trace in together}) == len(TRIALS)


@pytest.mark.parametrize("horizon", [1, 4, 6, 11])
def test_a_shorter_horizon_is_the_start_of_a_longer_one(forecaster, contexts, horizon):
    longer, shorter = (forecaster.forecast(contexts, [frames] * len(TRIALS)) for frames in (12, horizon))
    assert_close([trace[:, :horizon] for trace in longer], shorter)


@pytest.mark.parametrize("rows", [1, 10, 25])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("choice", ["greedy", "expected"])
def test_forecasts_without_sampling_do_not_depend_on_chunks(forecaster, contexts, rows, samples, choice):
    whole = dataclasses.replace(forecaster, choice=choice, samples=samples)
    chunked = dataclasses.replace(whole, config=ForecastConfig(rows=rows))
    assert_close(whole.forecast(contexts, HORIZONS), chunked.forecast(contexts, HORIZONS))


@pytest.mark.parametrize("choice", ["greedy", "expected"])
def test_rollouts_without_sampling_are_all_the_same(forecaster, contexts, choice):
    rollouts = dataclasses.replace(forecaster, choice=choice).rollouts(np.stack(contexts), 12, samples=3)
    assert_close(rollouts, [rollouts[0]] * 3)


@pytest.mark.parametrize("rows", [1, 10, 12, 25, 20_000])
def test_no_more_rows_than_allowed_are_rolled_out_at_once_and_every_sample_counts(either, contexts, rows, monkeypatch):
    asked = []

    def ones(_, contexts, horizon, *, samples, **__):
        asked.append(samples * contexts.shape[0])
        return np.ones((samples, len(contexts), 5, horizon), np.float32)

    monkeypatch.setattr(CalMForecaster, "rollouts", ones)
    chunked = dataclasses.replace(either, config=ForecastConfig(rows=rows), samples=7)
    assert_close(chunked.forecast(contexts, HORIZONS), [np.ones((5, frames)) for frames in HORIZONS])
    assert sum(asked) == 7 * len(TRIALS) and max(asked) * 5 <= max(5, rows)


def test_frames_after_the_context_do_not_matter(either, uneven, contexts):
    traces = tuple(np.concatenate([trace[:, :CONTEXT], -9 - trace[:, CONTEXT:]], axis=1) for trace in uneven.traces)
    changed = cut_trials(dataclasses.replace(uneven, traces=traces), TRIALS, CONTEXT)[0]
    for before, after in zip(either.forecast(contexts, HORIZONS), either.forecast(changed, HORIZONS), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_context_matters(forecaster, contexts):
    before, after = (forecaster.forecast(given, HORIZONS) for given in (contexts, [-context for context in contexts]))
    assert all(not np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize(("samples", "expect"), [(1, False), (6, True)])
def test_forecast_is_the_mean_of_its_rollouts(forecaster, contexts, samples, expect):
    sampling = dataclasses.replace(forecaster, choice="sample", samples=samples, seed=4)
    mean = sampling.forecast(contexts, [12] * len(TRIALS))
    torch.manual_seed(4)
    rollouts = sampling.rollouts(np.stack(contexts), 12, samples=samples, expect=expect)
    assert len({rollout.tobytes() for rollout in rollouts}) == samples
    assert_close(mean, rollouts.mean(0))


def test_sampled_forecasts_follow_from_the_seed_and_leave_the_callers_random_state(forecaster, contexts):
    sampling, state = dataclasses.replace(forecaster, choice="sample"), torch.get_rng_state()
    first = sampling.forecast(contexts, HORIZONS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = (dataclasses.replace(sampling, seed=seed).forecast(contexts, HORIZONS) for seed in (0, 1))
    assert_close(first, again)
    assert any(not np.array_equal(*pair) for pair in zip(first, other, strict=True))


@pytest.mark.parametrize("expect", [False, True])
def test_horizon_frames_are_those_after_the_context(forecaster, uneven, monkeypatch, expect):
    trace, start = uneven.traces[5][:, :28], CONTEXT // WINDOW

    def truth(_, context, *, steps, **__):
        tokens = forecaster.quantizer(torch.from_numpy(trace)).codes[None]
        assert torch.equal(context.tokens, tokens[..., :start]) and steps == 4
        certain = torch.nn.functional.one_hot(tokens[None, ..., start:], 6).float()
        wrong = certain.roll(1, dims=-1)
        return Rollouts(certain, wrong) if expect else Rollouts(wrong, certain)

    monkeypatch.setattr("calm.models.rollout.roll_out", truth)
    horizon = forecaster.rollouts(trace[None, :, :CONTEXT], 14, samples=1, expect=expect)[0]
    assert_close(horizon, [reconstruct(forecaster.quantizer, trace)[:, CONTEXT : CONTEXT + 14]])


@pytest.mark.parametrize("frames", [1, 10, 13])
def test_a_context_that_ends_within_a_token_is_refused(forecaster, contexts, frames):
    with pytest.raises(CalmError, match=f"context of {frames} frames .* multiple of {WINDOW}"):
        forecaster.forecast([np.repeat(context[:, :1], frames, axis=1) for context in contexts], HORIZONS)


def test_forecasting_leaves_no_gradient_behind(either, contexts):
    either.forecast(contexts, HORIZONS)
    assert all(parameter.grad is None for parameter in [*either.model.parameters(), *either.quantizer.parameters()])
