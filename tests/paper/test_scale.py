"""The transformer at smaller scales: what is less, what stays, and that a full share is the training itself."""

import dataclasses

import numpy as np
import pytest

from calm.config.synthetic import SimulationConfig
from calm.data.preparation import prepare
from calm.paper.embeddings.scale import (
    CHANCE,
    FORECAST,
    SCALES,
    scale_down,
    scale_read_outs,
    train_scales,
)
from calm.paper.embeddings.study import READ_OUT_CORR
from calm.paper.results import Results, check
from calm.profile import load_profile
from calm.recordings import Recordings
from calm.synthetic.simulation import simulate
from calm.training.stages import train
from calm.training.tasks import QuantizerTask, TransformerTask

NEURONS = 24


@pytest.fixture(scope="module")
def sessions():
    """Two simulated networks whose trials are of two kinds, at random."""
    config = SimulationConfig(trials=16, neurons=NEURONS, frames=60)
    return [with_kinds(simulate(config, seed).session, seed) for seed in (0, 1)]


def with_kinds(session, seed):
    kinds = np.random.default_rng(seed).permutation([0, 1] * (len(session.trials) // 2))
    return prepare(dataclasses.replace(session, trials=session.trials.assign(kind=kinds)), seed=0)


@pytest.fixture
def profile():
    smoke = load_profile("smoke")
    once = {"steps": 4, "validate_every": 2}
    return smoke.changed(**{name: getattr(smoke, name).changed(**once) for name in ("quantizer_fit", "dat_fit")})


def test_fewer_training_trials_are_seen_more_often_and_the_others_stay(sessions, profile):
    (half, _), scaled = scale_down("trials", sessions, profile, 0.5, 0)
    train = sessions[0].trials_of("train")
    assert len(half.trials_of("train")) == round(len(train) / 2) and set(half.trials_of("train")) < set(train)
    assert scaled == profile
    for split in ("val", "test"):
        np.testing.assert_array_equal(half.trials_of(split), sessions[0].trials_of(split))


def test_fewer_neurons_keep_their_traces_and_the_number_of_trials_of_a_step(sessions, profile):
    (half, _), scaled = scale_down("neurons", sessions, profile, 0.5, 0)
    assert len(half.neurons) == NEURONS // 2 and scaled.dat_fit.steps == profile.dat_fit.steps
    assert scaled.dat_fit.rows // len(half.neurons) == profile.dat_fit.rows // NEURONS
    rows = {tuple(trace) for trace in sessions[0].traces[3]}
    assert {tuple(trace) for trace in half.traces[3]} < rows


def test_what_is_kept_of_a_smaller_share_is_kept_of_a_larger_one(sessions, profile):
    (small, _), (large, _) = (scale_down("neurons", sessions, profile, share, 0)[0] for share in (0.25, 0.75))
    assert {tuple(trace) for trace in small.traces[0]} < {tuple(trace) for trace in large.traces[0]}


def test_there_is_at_least_one_step(sessions, profile):
    assert scale_down("steps", sessions, profile, 0.1, 0)[1].dat_fit.steps == 1


@pytest.mark.parametrize("part", SCALES)
def test_all_of_it_changes_neither_input_nor_numbers(sessions, profile, part):
    same, scaled = scale_down(part, sessions, profile, 1.0, 0)
    assert scaled == profile
    assert [each.fingerprint() for each in same] == [each.fingerprint() for each in sessions]


def test_every_scale_is_trained_once_the_full_one_is_the_known_training_and_few_neurons_keep_their_forecasts(
    sessions, profile, tmp_path
):
    recordings, results = Recordings("mine", sessions, [], profile), Results("mine", 0)
    quantizer = train(QuantizerTask(sessions, profile.quantizer), profile.quantizer_fit, seed=0, runs=tmp_path)
    task = TransformerTask(quantizer, sessions, profile.dat, profile.forecast)
    known = train(task, profile.dat_fit, seed=0, runs=tmp_path)
    before = set(tmp_path.glob("transformer-*"))
    train_scales(results, quantizer, recordings, profile, [0.25], runs=tmp_path, draws=9)
    assert len(set(tmp_path.glob("transformer-*")) - before) == len(SCALES)
    rows = results.table("fig5_scale")
    check(rows, "fig5_scale")
    assert set(rows["metric"]) == {READ_OUT_CORR, CHANCE, FORECAST}
    full = rows[rows["share"] == 1]
    assert set(full.loc[full["metric"] == FORECAST, "value"]) == {known.score}
    direct = scale_read_outs(known.model, sessions, recordings, draws=9, seed=0)
    for _, scale in full[full["metric"] != FORECAST].groupby("part"):
        assert scale.set_index(["metric", "variant"])["value"].to_dict() == direct
    few = rows[(rows["part"] == "neurons") & (rows["share"] == 0.25)]
    assert list(few["metric"]) == [FORECAST] and set(few["n"]) == {NEURONS // 2}
