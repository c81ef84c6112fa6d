"""What scheduled sampling does: losses from true and from own tokens, on the same trials and tokens."""

import dataclasses

import numpy as np
import pytest
import torch

from calm.config.fitting import ForecastConfig
from calm.data.preparation import prepare
from calm.models.rollout import roll_out
from calm.paper.experiments.ablations import SAMPLING_OFF
from calm.paper.experiments.sampling_gap import (
    LOSSES,
    gap_trials,
    score_gap,
    session_losses,
    token_losses,
)
from calm.paper.results import Results
from calm.profile import load_profile
from calm.recordings import Recordings

CONTEXT, HORIZON = 12, 6  # frames: three tokens, and one and a half
STEPS = 4


@pytest.fixture
def config():
    return ForecastConfig(context=CONTEXT, horizon=HORIZON)


@pytest.fixture
def recordings(uneven, config):
    return Recordings("mine", [uneven], [], load_profile("smoke").changed(forecast=config))


def test_the_first_token_has_only_true_ones_before_it(dat, batch):
    true, own = token_losses(dat, batch, STEPS)
    assert true.shape == own.shape == (2, STEPS)
    torch.testing.assert_close(true[:, 0], own[:, 0])
    assert not torch.allclose(true[:, 1:], own[:, 1:])


def test_from_true_tokens_it_is_the_training_objective(dat, batch):
    true, _ = token_losses(dat, batch, batch.tokens.shape[-1] - 1)
    torch.testing.assert_close(true.mean(), dat.next_token_loss(batch, batch.tokens).detach())


def test_a_model_whose_own_tokens_come_true_makes_no_mistakes_to_go_on_from(dat, batch):
    known = batch.tokens.shape[-1] - STEPS
    context = dataclasses.replace(batch, tokens=batch.tokens[..., :known])
    own_tokens = roll_out(dat, context, steps=STEPS).chosen[0].argmax(-1)
    fulfilled = dataclasses.replace(batch, tokens=torch.cat([context.tokens, own_tokens], dim=-1))
    true, own = token_losses(dat, fulfilled, STEPS)
    torch.testing.assert_close(true, own)


def test_a_model_that_knows_nothing_pays_the_logarithm_of_the_number_of_codes(dat, batch, quantizer_config):
    with torch.no_grad():
        dat.tokens.zero_()
    for losses in token_losses(dat, batch, STEPS):
        torch.testing.assert_close(losses, torch.full_like(losses, np.log(quantizer_config.codes)))


def test_losses_of_a_session_do_not_depend_on_how_much_is_computed_at_once(dat, quantizer, uneven, config):
    trials = np.arange(6)
    whole = session_losses(dat, quantizer, uneven, trials, config)
    parts = session_losses(dat, quantizer, uneven, trials, config.changed(rows=1))
    assert whole[0].shape == (6, 1)  # one whole token in the horizon
    np.testing.assert_allclose(np.stack(whole), np.stack(parts), rtol=1e-5)


def test_losses_of_a_session_are_of_the_tokens_behind_the_context(dat, quantizer, uneven, config):
    changed = [trace.copy() for trace in uneven.traces]
    for trace in changed:
        trace[:, CONTEXT + 4 :] = 9.0  # behind the only whole token
    other = dataclasses.replace(uneven, traces=tuple(changed))
    first, second = (session_losses(dat, quantizer, each, np.arange(5), config) for each in (uneven, other))
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_training_trials_are_as_many_as_test_trials_and_from_the_whole_session(make_session):
    session = prepare(make_session([24] * 60), seed=0)
    config = ForecastConfig(context=CONTEXT, horizon=HORIZON)
    train, test = (gap_trials(session, split, config) for split in ("train", "test"))
    assert len(train) == len(test) == 9 and len(set(train)) == 9
    assert set(train) <= set(session.trials_of("train")) and set(test) == set(session.trials_of("test"))
    assert train[0] == session.trials_of("train")[0] and train[-1] == session.trials_of("train")[-1]


@pytest.mark.parametrize("corruption", ["input", "losses"])
def test_without_scheduled_sampling_predictions_are_not_fed_back_or_do_not_count(corruption, dat, batch):
    dat.config = dat.config.changed(corruption=corruption, replacement=0.0, **SAMPLING_OFF)
    plain = dat.next_token_loss(batch, batch.tokens)
    for _ in range(5):
        loss = dat.training_loss(batch)["loss"]
        torch.testing.assert_close(loss, plain if corruption == "input" else 2 * plain)


def gap_of(dat, quantizer, recordings):
    results = Results("mine", seed=0)
    score_gap(results, {"bare": dat}, quantizer, recordings, item="gap")
    return results.table("gap"), results.table("gap_horizon")


def test_every_metric_has_a_mean_and_a_course_on_every_split(dat, quantizer, recordings):
    rows, course = gap_of(dat, quantizer, recordings)
    metrics = {*LOSSES, "corr, greedy", "corr, expected"}
    assert set(rows["metric"]) == set(course["metric"]) == metrics
    assert len(rows) == 3 * len(metrics) and set(rows["split"]) == {"train", "val", "test"}
    assert set(rows["item"]) == {"gap"} and set(course["item"]) == {"gap_horizon"}
    times = course.groupby("metric")["seconds"].unique()
    assert times[LOSSES[0]].tolist() == [0.8]  # four frames at 5 frames/s
    assert times["corr, greedy"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.2])


def test_the_mean_of_a_loss_is_the_mean_of_its_course(dat, quantizer, recordings):
    long = ForecastConfig(context=8, horizon=8)
    recordings = dataclasses.replace(recordings, profile=recordings.profile.changed(forecast=long))
    rows, course = gap_of(dat, quantizer, recordings)
    for metric in LOSSES:
        mean, points = (each[each["metric"] == metric].groupby("split")["value"] for each in (rows, course))
        assert points.count().eq(2).all()
        np.testing.assert_allclose(points.mean(), mean.first(), rtol=1e-6)
