"""All decoders of a figure: who is compared, what each was given, and the ceiling."""

import dataclasses

import numpy as np
import pytest
from backbones import frozen
from decoding_cases import decodable_session

from calm.baselines.linear_decoders import lagged_design
from calm.config import CohortConfig, RidgeDecoderConfig
from calm.data.dandi_000579 import read_dandi_session
from calm.data.session import prepare
from calm.metrics import channel_scores
from calm.models.interfaces import Decoder
from calm.paper.experiments.decoding_comparison import (
    decode_known_rates,
    decode_trials,
    features_of,
    linear_decoders,
    train_many_decoders,
    train_share,
    train_single_decoders,
)
from calm.profile import load_profile
from calm.synthetic.cohort import make_session
from calm.synthetic.mice import plan_cohort
from calm.synthetic.truth import read_truth

RIDGE = RidgeDecoderConfig(lags=3, penalties=(1.0, 100.0))
ALL = {("GLM", ""), ("GLM", "3 frames ahead"), ("RRR", ""), ("TCN", ""), ("POYO+", "")}
HEADED = {(method, head) for method in ("CalM", "raw traces") for head in ("linear head", "GLU head")}


@pytest.fixture
def backbone(quantizer, dat):
    return frozen(quantizer, dat)


@pytest.fixture
def session():
    return decodable_session(name="uneven", neurons=5, trials=20)


def r2(session, decoded, split="test"):
    trials = session.trials_of(split)
    true = np.concatenate([session.behaviour[trial] for trial in trials])
    return channel_scores(true, np.concatenate(decoded))["r2"].mean()


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_design_reaches_as_far_ahead_as_it_should_and_no_further(ahead):
    trace = np.random.default_rng(0).normal(size=(2, 9))
    padded = np.pad(trace, ((0, 0), (2, ahead)))
    for frame, row in enumerate(lagged_design(trace, 3, ahead)):
        seen = padded[:, frame : frame + 3 + ahead][:, ::-1]
        np.testing.assert_array_equal(row, [*seen.T.ravel(), 1.0])


def test_a_glm_that_sees_ahead_decodes_what_comes_before_the_traces():
    session = decodable_session(trials=40)
    late = tuple(np.roll(values, -2, axis=0) for values in session.behaviour)  # behaviour leads by two frames
    leading = dataclasses.replace(session, behaviour=late)
    decoders, costs = linear_decoders(leading, RIDGE, window=4)
    decoded, _ = decode_trials(decoders, leading, leading.trials_of("test"))
    assert r2(leading, decoded["GLM", "3 frames ahead"]) > r2(leading, decoded["GLM", ""]) + 0.2
    assert set(costs) == set(decoders)


def test_every_decoder_of_a_single_session_decodes_whole_trials_after_as_many_tries(backbone, session, tmp_path):
    profile = load_profile("smoke")
    found = train_single_decoders(session, features_of(session, backbone, tmp_path), profile, seed=0, runs=tmp_path)
    assert set(found.decoders) == set(found.costs) == ALL | HEADED
    assert {len(search.tries) for search in found.tries.values()} == {len(profile.learning_rates)}
    trials = session.trials_of("test")
    decoded, seconds = decode_trials(found.decoders, session, trials)
    for label, guesses in decoded.items():
        assert isinstance(found.decoders[label], Decoder) and seconds[label] > 0
        assert [guess.shape for guess in guesses] == [(frames, 3) for frames in session.frames[trials]]


def test_fewer_labels_change_what_is_learned(backbone, session, tmp_path):
    features = features_of(session, backbone, tmp_path)
    few, all_labels = (
        train_share(session, features, share, load_profile("smoke"), seed=0, runs=tmp_path) for share in (0.2, 1.0)
    )
    trace = session.traces[:1]
    assert set(few) == set(all_labels) == {label for label in ALL if label[0] in ("GLM", "RRR")} | HEADED
    assert all(not np.allclose(few[label].decode(trace)[0], all_labels[label].decode(trace)[0]) for label in few)


def test_new_sessions_of_many_get_only_what_is_theirs(backbone, session, tmp_path):
    groups = {"held-in": [session], "held-out": [dataclasses.replace(session, subject="other")]}
    backbones = dict.fromkeys(groups, backbone)
    sets = train_many_decoders(groups, backbones, load_profile("smoke"), seed=0, runs=tmp_path)
    assert list(sets) == ["held-in", "held-out"]
    for label in (("CalM", "linear head"), ("CalM", "GLU head"), ("POYO+", "")):
        before, after = (sets[group]["uneven"].tries[label].chosen.model for group in groups)
        trained = {name for name, parameter in after.named_parameters() if parameter.requires_grad}
        weights = before.state_dict()
        same = {name for name, value in after.state_dict().items() if value.equal(weights[name])}
        assert trained and trained < set(weights) and same >= set(weights) - trained


def test_known_rates_are_decoded_better_than_traces(tmp_path):
    config = CohortConfig(session_share=0, min_sessions=1, neuron_share=0.001, min_neurons=40, trials=30, block=(8, 10))
    plan = plan_cohort(config)[0]
    make_session(plan, config, tmp_path)
    session = prepare(read_dandi_session(tmp_path / plan.path), seed=0, smoothing=0.15)
    ridge = RidgeDecoderConfig(lags=5, penalties=(10.0, 100.0, 1000.0))
    trials = session.trials_of("test")
    known = decode_known_rates(read_truth(tmp_path / plan.path), session, trials, ridge)
    traces, _ = decode_trials({("GLM", ""): linear_decoders(session, ridge, 4)[0]["GLM", ""]}, session, trials)
    assert r2(session, known) > r2(session, traces["GLM", ""]) > 0
