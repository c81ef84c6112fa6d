"""What decoder networks share: windows with behaviour, validation, training, adaptation, fewer labels."""

import dataclasses

import numpy as np
import pytest
import torch
from decoding_cases import decodable_session
from fit_cases import first_pass

from calm.baselines.tcn import TCNDecoder
from calm.baselines.validation import validation_error
from calm.config.fitting import FitConfig
from calm.config.rivals import TCNDecoderConfig
from calm.data.session import shared_behaviours
from calm.errors import CalmError
from calm.models.interfaces import Decoder, DecoderNetwork
from calm.training.batches import decoding_batches
from calm.training.decoding import DecoderTask, NetworkDecoder, with_share
from calm.training.stages import search, train

SMALL = TCNDecoderConfig(width=4, layers=1, kernel=2)
FIT = FitConfig(steps=6, validate_every=3, rows=60, learning_rate=1e-2)


class Shared(DecoderNetwork):
    """Each session's neurons are mixed to two signals, from which one map reads behaviour for all sessions."""

    session_parameters = ("mixing.",)

    def __init__(self, config, sessions, behaviours, rate):
        super().__init__(config, window=9)
        self.mixing = torch.nn.ModuleDict({name: torch.nn.Linear(count, 2) for name, count in sessions.items()})
        self.head = torch.nn.Linear(2, behaviours)

    def decode(self, session, traces):
        return self.head(self.mixing[session](traces.transpose(1, 2)))


class Echo(DecoderNetwork):
    """Says what the first neurons do; remembers the batches it was given."""

    def __init__(self):
        super().__init__(SMALL, None)
        self.unused, self.sizes = torch.nn.Parameter(torch.zeros(1)), []

    def decode(self, session, traces):
        self.sizes.append(traces.shape)
        return traces[:, :3].transpose(1, 2)


@pytest.fixture(scope="module")
def session():
    return decodable_session(trials=30)


@pytest.fixture(scope="module")
def other():
    return decodable_session("other", neurons=4, trials=30, seed=1)


@pytest.mark.parametrize("window", [None, 9])
def test_every_training_trial_is_visited_once_with_the_behaviour_of_its_frames(session, window):
    found = []
    for batch in first_pass(decoding_batches([session], window, FIT, seed=3)):
        for traces, behaviour in zip(batch.traces.numpy(), batch.behaviour.numpy(), strict=True):
            places = [
                (trial, start)
                for trial in range(30)
                for start in range(session.frames[trial] - traces.shape[1] + 1)
                if np.array_equal(session.traces[trial][:, start : start + traces.shape[1]], traces)
            ]
            ((trial, start),) = places
            np.testing.assert_array_equal(session.behaviour[trial][start : start + len(behaviour)], behaviour)
            assert len(behaviour) == traces.shape[1]
            assert len(behaviour) == window if window else len(behaviour) > 0.7 * session.frames[trial]
            found.append(trial)
    assert sorted(found) == session.trials_of("train").tolist()


def test_batches_hold_all_neurons_and_no_more_rows_than_asked_for(session, other):
    batches = first_pass(decoding_batches([session, other], None, FIT.changed(neurons=2), seed=0))
    assert {(batch.session, batch.traces.shape[1]) for batch in batches} == {("made", 6), ("other", 4)}
    assert all(batch.traces.shape[0] * batch.traces.shape[1] <= 60 for batch in batches)


def test_windows_start_where_the_seed_says(session):
    first, again, later = (first_pass(decoding_batches([session], 9, FIT, seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one.behaviour, two.behaviour) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0].behaviour, later[0].behaviour)
    assert len(first) == len(later)


def test_trials_are_decoded_in_their_order_those_of_a_length_together(session, monkeypatch):
    monkeypatch.setattr("calm.training.decoding.ROWS", 2 * 6)
    network = Echo()
    decoder = NetworkDecoder(network, session.name)
    decoded = decoder.decode(list(session.traces))
    for trace, guess in zip(session.traces, decoded, strict=True):
        np.testing.assert_array_equal(guess, trace[:3].T)
    assert max(size[0] for size in network.sizes) == 2 and len(network.sizes) < 30
    assert isinstance(decoder, Decoder)


def test_validation_error_is_the_mean_over_recorded_values_of_validation_trials(session):
    behaviour = [channels.copy() for channels in session.behaviour]
    trials = session.trials_of("val")
    behaviour[trials[0]][:20, 1] = np.nan
    gappy = dataclasses.replace(session, behaviour=tuple(behaviour))
    errors = [
        (behaviour[trial][frame, channel].astype(float) - session.traces[trial][channel, frame]) ** 2
        for trial in trials
        for frame in range(session.frames[trial])
        for channel in range(3)
    ]
    found = validation_error(NetworkDecoder(Echo(), session.name), gappy)
    assert found == pytest.approx(np.mean([error for error in errors if np.isfinite(error)]), rel=1e-6)
    for trial in trials:
        behaviour[trial][:] = np.nan
    with pytest.raises(CalmError, match="no behaviour in the validation trials"):
        validation_error(NetworkDecoder(Echo(), session.name), gappy)


def test_the_score_of_a_training_is_minus_the_error_of_its_weights(session, other, tmp_path):
    trained = train(DecoderTask(Shared, SMALL, [session, other]), FIT, seed=0, runs=tmp_path)
    errors = [validation_error(NetworkDecoder(trained.model, each.name), each) for each in (session, other)]
    assert trained.score == pytest.approx(-np.mean(errors))


def test_a_trained_decoder_is_found_again_and_another_config_or_input_is_trained_anew(session, tmp_path, monkeypatch):
    def train_with(config=SMALL, session=session, seed=0):
        return train(DecoderTask(TCNDecoder, config, [session]), FIT, seed=seed, runs=tmp_path)

    first = train_with()
    assert first.key.startswith("tcndecoder-") and (tmp_path / first.key / "model").is_dir()
    with monkeypatch.context() as patched:
        patched.setattr("calm.training.fit.Run.train", lambda *_: pytest.fail("trained again"))
        again = train_with()
    assert all(torch.equal(*pair) for pair in zip(first.model.parameters(), again.model.parameters(), strict=True))
    others = [train_with(SMALL.changed(dropout=0.0)), train_with(seed=1)]
    others += [
        train_with(session=dataclasses.replace(session, rate=7.0)),
        train_with(session=with_share(session, 0.5, seed=0)),
    ]
    assert len({first.key, *(each.key for each in others)}) == 5


def test_a_search_keeps_the_learning_rate_with_the_least_validation_error(session, tmp_path):
    found = search(DecoderTask(TCNDecoder, SMALL, [session]), FIT, (1.0, 1e-6), seed=0, runs=tmp_path)
    assert list(found.tries) == [1e-2, 1e-8] and found.learning_rate == 1e-2
    assert found.seconds == sum(tried.seconds for tried in found.tries.values()) > found.chosen.seconds
    assert found.chosen.score > found.tries[1e-8].score


def test_test_trials_are_never_read(session, tmp_path):
    traces, behaviour = ([array.copy() for array in arrays] for arrays in (session.traces, session.behaviour))
    for trial in session.trials_of("test"):
        traces[trial][:] = behaviour[trial][:] = np.nan
    blinded = dataclasses.replace(session, traces=tuple(traces), behaviour=tuple(behaviour))
    models = [
        train(DecoderTask(TCNDecoder, SMALL, [each]), FIT, seed=0, runs=tmp_path / name).model
        for name, each in (("open", session), ("blinded", blinded))
    ]
    assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in models), strict=True))


def test_adapting_changes_what_belongs_to_sessions_only(session, other, tmp_path):
    first = train(DecoderTask(Shared, SMALL, [session]), FIT, seed=0, runs=tmp_path)
    adapted = train(DecoderTask(Shared, SMALL, [other]), FIT, seed=0, runs=tmp_path, pretrained=first)
    before, after = first.model.state_dict(), adapted.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in ("head.weight", "head.bias"))
    still = FIT.changed(learning_rate=1e-9)
    fresh = train(DecoderTask(Shared, SMALL, [other]), still, seed=0, runs=tmp_path, pretrained=first)
    assert not torch.equal(after["mixing.other.weight"], fresh.model.state_dict()["mixing.other.weight"])
    assert after["mixing.other.weight"].shape == (2, 4) and adapted.parameters == 4 * 2 + 2
    assert adapted.key != train(DecoderTask(Shared, SMALL, [other]), FIT, seed=0, runs=tmp_path).key


def test_a_network_that_knows_no_sessions_cannot_be_adapted(session, tmp_path):
    first = train(DecoderTask(TCNDecoder, SMALL, [session]), FIT, seed=0, runs=tmp_path)
    with pytest.raises(CalmError, match="TCNDecoder has no part of its own for a session"):
        train(DecoderTask(TCNDecoder, SMALL, [session]), FIT, seed=0, runs=tmp_path, pretrained=first)


def test_sessions_that_differ_in_behaviour_or_rate_are_refused(session, other, tmp_path):
    assert shared_behaviours([session, other]) == ("pitch", "roll", "yaw")
    renamed = dataclasses.replace(other, behaviour_names=("pitch", "yaw", "roll"))
    with pytest.raises(CalmError, match="Session made has the behaviour pitch, roll, yaw, but session other"):
        train(DecoderTask(Shared, SMALL, [session, renamed]), FIT, seed=0, runs=tmp_path)
    with pytest.raises(CalmError, match=r"6 frames per second, but not other \(30\)"):
        train(DecoderTask(Shared, SMALL, [session, dataclasses.replace(other, rate=30.0)]), FIT, seed=0, runs=tmp_path)
    behaviour = tuple(channels[:, :0] for channels in session.behaviour)
    with pytest.raises(CalmError, match="Session made has no behaviour to decode"):
        shared_behaviours([dataclasses.replace(session, behaviour=behaviour, behaviour_names=())])
