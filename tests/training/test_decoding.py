"""Heads learn, alone or for many sessions; adaptation, shares of the labels, and heads as decoders of whole trials."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from backbones import frozen
from fit_cases import first_pass

from calm.config.fitting import FitConfig
from calm.config.models import HeadConfig
from calm.data.preparation import prepare
from calm.data.session import Session
from calm.errors import CalmError
from calm.metrics import channel_scores
from calm.models.heads import GLUHead, LinearHead
from calm.models.interfaces import Decoder
from calm.profile import load_profile
from calm.training.decoding import HEADS, HeadDecoder, HeadTask, feature_batches, feature_error, with_share
from calm.training.features import FeatureSession, RawFeatures, on_whole_tokens
from calm.training.stages import search, train

RAW = RawFeatures(window=4, tokens=2)
SMALL = HeadConfig(rank=8, taps=3, look_ahead=3, dropout=0.0)  # to the end of a token
FIT = FitConfig(steps=105, rows=40, learning_rate=2e-2, weight_decay=1e-2, validate_every=35)
SHORT = FIT.changed(steps=14)
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


def linear_session(name="linear", *, neurons=6, trials=60, seed=0):
    """A prepared session whose two behaviours are linear maps of the traces of the same frame and of that before."""
    rng = np.random.default_rng(seed)
    lengths = rng.choice([30, 38], trials)
    traces = [np.cumsum(rng.normal(size=(neurons, length)), axis=1) / 5 for length in lengths]
    before = [np.pad(trace, ((0, 0), (1, 0)))[:, :-1] for trace in traces]
    now, then = rng.normal(size=(2, neurons, 2))
    session = Session(
        name=name,
        subject="none",
        rate=6.0,
        traces=tuple(traces),
        behaviour=tuple(trace.T @ now + past.T @ then for trace, past in zip(traces, before, strict=True)),
        behaviour_names=("pitch", "yaw"),
        trials=pd.DataFrame({"trial": range(trials)}),
        neurons=pd.DataFrame({"neuron": range(neurons)}),
    )
    return prepare(session, seed=seed)


@pytest.fixture(scope="module")
def session():
    return linear_session()


@pytest.fixture(scope="module")
def other():
    return linear_session("other", neurons=4, seed=1)


@pytest.fixture
def stored(session, tmp_path):
    return FeatureSession(session, RAW)


def r2_of(head, session):
    """R2 over all test frames on whole tokens."""
    traces, truth = zip(*((session.traces[i], session.behaviour[i]) for i in session.trials_of("test")), strict=True)
    decoded = HeadDecoder(head, RAW, session.name).decode(traces)
    pairs = (np.concatenate(on_whole_tokens(values, RAW.window)) for values in (truth, decoded))
    return channel_scores(*pairs)["r2"].mean()


@pytest.mark.parametrize("kind", [LinearHead, GLUHead])
def test_a_head_learns_a_linear_map_of_the_traces(kind, session, stored, tmp_path):
    trained = train(HeadTask(kind, SMALL, [stored]), FIT, seed=0, runs=tmp_path)
    assert trained.key.startswith(kind.__name__.lower()) and r2_of(trained.model, session) > 0.9


def test_one_head_learns_two_sessions_with_shared_weights(session, other, tmp_path):
    both = [FeatureSession(each, RAW) for each in (session, other)]
    head = train(HeadTask(LinearHead, SMALL, both), FIT, seed=0, runs=tmp_path).model
    assert [len(rows) for rows in head.bank] == [6, 4]
    assert min(r2_of(head, each) for each in (session, other)) > 0.9


def test_adaptation_changes_the_new_rows_alone_and_learns(session, other, tmp_path):
    new = FeatureSession(other, RAW)
    old = FeatureSession(session, RAW)
    first = train(HeadTask(LinearHead, SMALL, [old]), FIT, seed=0, runs=tmp_path)
    adapted = train(HeadTask(LinearHead, SMALL, [new]), FIT, seed=0, runs=tmp_path, pretrained=first)
    before, after = first.model.state_dict(), adapted.model.state_dict()
    assert [name for name in after if not torch.equal(after[name], before[name])] == ["bank.0"]
    assert adapted.parameters == adapted.model.bank[0].numel() == 4 * 8 * SMALL.rank
    assert list(adapted.model.index) == ["other"] and adapted.key != first.key
    assert r2_of(adapted.model, other) > 0.9


def test_adaptation_to_other_features_is_refused(session, other, tmp_path):
    old = FeatureSession(session, RAW)
    first = train(HeadTask(LinearHead, SMALL, [old]), SHORT, seed=0, runs=tmp_path)
    task = HeadTask(LinearHead, SMALL, [FeatureSession(other, RawFeatures(4, 3))])
    with pytest.raises(CalmError, match=r"linearhead-.* was trained on other features or behaviours than those of"):
        train(task, SHORT, seed=0, runs=tmp_path, pretrained=first)


def test_a_pass_has_all_neurons_of_every_training_trial_once(stored, session):
    batches = first_pass(feature_batches([stored], FIT.changed(neurons=2), seed=0))
    found = [values.numpy() for batch in batches for values in batch.behaviour]
    trials = session.trials_of("train")
    whole = on_whole_tokens([session.behaviour[trial] for trial in trials], 4)

    def is_part(values, trial):
        starts = range(0, len(trial) - len(values) + 1, 4)
        return any(np.array_equal(trial[start : start + len(values)], values) for start in starts)

    matches = np.array([[is_part(values, trial) for trial in whole] for values in found])
    assert len(found) == len(trials) and (matches.sum(axis=0) == 1).all() and (matches.sum(axis=1) == 1).all()
    assert {batch.features.shape[2] for batch in batches} == {6}
    assert all(batch.features.shape[1] <= 40 // 6 for batch in batches)


def hide(session, trials, value=np.nan):
    """The session with another behaviour in some trials."""
    behaviour = list(session.behaviour)
    for trial in trials:
        behaviour[trial] = np.full_like(behaviour[trial], value)
    return dataclasses.replace(session, behaviour=tuple(behaviour))


def states(sessions, runs):
    """Weights of a head trained on each session by itself."""
    for number, each in enumerate(sessions):
        features = FeatureSession(each, RAW)
        trained = train(HeadTask(LinearHead, SMALL, [features]), SHORT, seed=0, runs=runs / str(number))
        yield trained.model.state_dict()


def test_what_was_not_recorded_and_test_trials_take_no_part(session, tmp_path):
    train, test = session.trials_of("train"), session.trials_of("test")
    unknown = hide(session, train[:10])
    traces = list(unknown.traces)
    for trial in test:
        traces[trial] = np.full_like(traces[trial], 7)
    blinded = hide(dataclasses.replace(unknown, traces=tuple(traces)), test, 7.0)
    plain, blind, complete = states([unknown, blinded, session], tmp_path)
    assert all(torch.equal(plain[name], blind[name]) for name in plain)
    assert all(value.isfinite().all() for value in plain.values()) and not torch.equal(plain["bias"], complete["bias"])


def test_the_score_is_the_validation_error_on_whole_tokens(session, tmp_path):
    partly = hide(session, session.trials_of("val")[:1])
    stored = FeatureSession(partly, RAW)
    trained = train(HeadTask(LinearHead, SMALL, [stored]), SHORT, seed=0, runs=tmp_path)
    trials = partly.trials_of("val")[1:]
    decoded = HeadDecoder(trained.model, RAW, "linear").decode([partly.traces[trial] for trial in trials])
    pairs = (on_whole_tokens(each, 4) for each in ([partly.behaviour[trial] for trial in trials], decoded))
    error = np.square(np.subtract(*map(np.concatenate, pairs))).mean()
    assert trained.score == pytest.approx(-error, rel=1e-5)
    assert feature_error(trained.model, stored, rows=1) == pytest.approx(error, rel=1e-5)


def test_a_trained_head_is_found_again_and_other_inputs_are_trained_anew(session, stored, tmp_path, monkeypatch):
    first = train(HeadTask(LinearHead, SMALL, [stored]), SHORT, seed=0, runs=tmp_path)
    shared = dataclasses.replace(stored, session=with_share(session, 0.5, seed=0))
    others = [(LinearHead, SMALL, shared, 0), (LinearHead, SMALL, stored, 1), (GLUHead, SMALL, stored, 0)]
    monkeypatch.setattr("calm.training.fit.Run.train", lambda *_: pytest.fail("trained again"))
    again = train(HeadTask(LinearHead, SMALL, [stored]), SHORT, seed=0, runs=tmp_path)
    assert torch.equal(again.model.bank[0], first.model.bank[0]) and again.score == first.score
    for kind, config, features, seed in others:
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            train(HeadTask(kind, config, [features]), SHORT, seed=seed, runs=tmp_path)


def test_heads_get_as_many_tries_as_every_other_method(stored, other, tmp_path):
    smoke = load_profile("smoke")
    task, rates = HeadTask(HEADS["GLU head"], smoke.head, [stored]), (0.3, 1.0)
    found = search(task, smoke.head_fit, rates, seed=0, runs=tmp_path)
    assert len({tried.key for tried in found.tries.values()}) == len(rates)
    assert found.chosen.score == max(tried.score for tried in found.tries.values())
    task = dataclasses.replace(task, features=[FeatureSession(other, RAW)])
    adapted = search(task, smoke.bank_fit, rates, seed=0, runs=tmp_path, pretrained=found.chosen)
    assert len({tried.key for tried in adapted.tries.values()}) == len(rates)


@pytest.mark.parametrize("raw", [False, True])
@torch.no_grad()
def test_a_head_decodes_whole_trials_as_from_their_stored_features(raw, quantizer, dat, uneven, tmp_path):
    extractor = RAW if raw else frozen(quantizer, dat)
    stored = FeatureSession(uneven, extractor)
    head = GLUHead(SMALL, extractor.channels, 4, 2, {"uneven": 5}).eval()
    decoder = HeadDecoder(head, extractor, "uneven")
    assert isinstance(decoder, Decoder)
    for trial, decoded in enumerate(decoder.decode(uneven.traces)):
        frames, whole = uneven.frames[trial], uneven.frames[trial] // 4 * 4
        expected = head("uneven", stored.whole(np.array([trial])).features)[0].numpy()
        assert decoded.shape == (frames, 2) and decoded.std() > 0
        np.testing.assert_allclose(decoded[:whole], expected, atol=1e-5)
        np.testing.assert_array_equal(decoded[whole:], np.tile(decoded[whole - 1], (frames - whole, 1)))


def test_a_trial_shorter_than_a_token_cannot_be_decoded():
    decoder = HeadDecoder(LinearHead(SMALL, RAW.channels, 4, 2, {"linear": 6}), RAW, "linear")
    with pytest.raises(CalmError, match="trial of 3 frames is shorter than a token of 4"):
        decoder.decode([np.zeros((6, 3), np.float32)])


def test_shares_of_the_labels_are_nested_and_leave_the_other_trials(session):
    train, labelled = set(session.trials_of("train")), []
    for share in SHARES:
        shared = with_share(session, share, seed=3)
        labelled.append(set(shared.trials_of("train")))
        assert len(labelled[-1]) == max(1, round(share * len(train)))
        assert labelled[-1] | set(shared.trials_of("unlabelled")) == train
        assert all(np.array_equal(shared.trials_of(split), session.trials_of(split)) for split in ("val", "test"))
    assert all(small < large for small, large in itertools.pairwise(labelled))
    assert with_share(session, 1.0, seed=3).fingerprint() == session.fingerprint()
    assert len(with_share(session, 1e-6, seed=3).trials_of("train")) == 1
    assert set(with_share(session, 0.1, seed=4).trials_of("train")) != labelled[1]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_that_cannot_be_taken_is_refused(session, share):
    with pytest.raises(CalmError, match="choose one above 0, at most 1"):
        with_share(session, share, seed=0)


def test_features_are_not_computed_again_for_a_share_another_head_or_decoding(session, monkeypatch):
    extractor = RawFeatures(window=4, tokens=2)
    stored = FeatureSession(session, extractor)
    for trial in range(len(session.traces)):
        stored.features(trial)
    monkeypatch.setattr(RawFeatures, "extract", lambda *_: pytest.fail("computed again"))
    shared = dataclasses.replace(stored, session=with_share(session, 0.25, seed=0))
    batches = first_pass(feature_batches([shared], FIT, seed=0))
    assert sum(len(batch.behaviour) for batch in batches) == len(shared.session.trials_of("train")) == 10
    for kind in HEADS.values():
        decoded = HeadDecoder(kind(SMALL, extractor.channels, 4, 2, {"linear": 6}), extractor, "linear").decode(
            [session.traces[trial].copy() for trial in session.trials_of("test")]
        )
        assert len(decoded) == len(session.trials_of("test"))


def without_behaviour(session):
    return dataclasses.replace(
        session, behaviour=tuple(values[:, :0] for values in session.behaviour), behaviour_names=()
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_behaviour, "Session linear has no behaviour to decode: name its series under `behaviour`"),
        (lambda each: hide(each, each.trials_of("val")), "no behaviour was recorded in its val trials"),
        (lambda each: hide(each, each.trials_of("train")), "no behaviour was recorded in its train trials"),
    ],
)
def test_a_session_that_has_nothing_to_decode_is_refused(session, tmp_path, change, sentence):
    features = FeatureSession(change(session), RAW)
    with pytest.raises(CalmError, match=sentence):
        train(HeadTask(LinearHead, SMALL, [features]), SHORT, seed=0, runs=tmp_path)


def test_sessions_with_other_behaviours_need_heads_of_their_own(session, other, tmp_path):
    renamed = dataclasses.replace(other, behaviour_names=("pitch", "lick"))
    both = [FeatureSession(each, RAW) for each in (session, renamed)]
    with pytest.raises(CalmError, match=r"has the behaviour pitch, yaw, but session \w+ has pitch, lick: train a"):
        train(HeadTask(LinearHead, SMALL, both), SHORT, seed=0, runs=tmp_path)
