"""What training visits: a stretch of every training trial, one session and one length at a time, nothing else."""

import dataclasses

import numpy as np
import pytest
import torch
from backbones import tokenize
from fit_cases import first_pass
from hypothesis import given
from hypothesis import strategies as st

from calm.config.fitting import FitConfig
from calm.data.preparation import prepare
from calm.training import batches
from calm.training.tokens import TokenSession, token_batches

WINDOW = 4
NEURONS = (5, 3)


def labelled(session, number):
    """The session with traces that tell its number, trial, neuron and frame."""
    traces = tuple(
        np.float32(number * 1e5 + trial * 1e3 + np.add.outer(100 * np.arange(len(trace)), np.arange(trace.shape[1])))
        for trial, trace in enumerate(session.traces)
    )
    return dataclasses.replace(session, traces=traces)


@pytest.fixture
def recordings(make_session):
    """Two prepared sessions of mixed lengths with labelled traces."""
    return [
        labelled(prepare(make_session([18, 24, 31, 19] * 4, neurons=neurons, name=f"s{number}"), seed=number), number)
        for number, neurons in enumerate(NEURONS)
    ]


def as_traces(recordings, config, seed):
    """One pass of the first stage, as (session, labels of rows x windows) pairs."""
    passed = first_pass(batches.trace_batches(recordings, config, WINDOW, seed=seed))
    rows = [batch.numpy()[:, ::WINDOW] for batch in passed]
    return [(int(labels[0, 0] // 1e5), labels) for labels in rows]


def as_tokens(recordings, config, seed):
    """One pass of the second stage in the same form; tokens carry the labels of the first frame of their window."""
    tokens = [
        TokenSession(
            session.name,
            tuple(trace[:, : trace.shape[1] // WINDOW * WINDOW : WINDOW].astype(np.int64) for trace in session.traces),
            session.trials_of("train"),
        )
        for session in recordings
    ]
    passed = first_pass(token_batches(tokens, config, seed=seed))
    for batch in passed:
        assert torch.equal(batch.tokens[..., 0] // 100 % 10, batch.neurons.expand(len(batch.tokens), -1))
    return [(int(batch.session[1:]), batch.tokens.flatten(0, 1).numpy()) for batch in passed]


@pytest.fixture(params=[as_traces, as_tokens])
def pass_of(request):
    return request.param


@pytest.mark.parametrize("size", [1, 2, 100])
def test_every_training_trial_is_visited_once_and_no_other(recordings, pass_of, size):
    passed = pass_of(recordings, FitConfig(steps=1, rows=size), 0)
    visited = np.concatenate([labels[:, 0] // 100 for _, labels in passed])
    expected = [
        number * 1000 + trial * 10 + neuron
        for number, session in enumerate(recordings)
        for trial in session.trials_of("train")
        for neuron in range(NEURONS[number])
    ]
    assert sorted(visited) == sorted(expected)


def test_batches_are_of_one_session_not_too_large_and_as_long_as_their_shortest_trial(recordings, pass_of):
    for number, labels in pass_of(recordings, FitConfig(steps=1, rows=10), 0):
        trials = labels[:, 0] // 1e3 % 100
        windows = recordings[number].frames[trials.astype(int)] // WINDOW
        assert set(labels.flatten() // 1e5) == {number}
        assert windows.min() == labels.shape[1]
        assert len(labels) == len(set(trials)) * NEURONS[number] <= 10


def test_trials_of_like_length_share_a_batch(recordings, pass_of):
    kept = sum(labels.size for _, labels in pass_of(recordings, FitConfig(steps=1, rows=10), 0))
    whole = sum(
        int((session.frames[session.trials_of("train")] // WINDOW).sum()) * NEURONS[number]
        for number, session in enumerate(recordings)
    )
    assert 0.9 * whole < kept <= whole


def test_rows_are_unbroken_stretches_with_every_start(recordings, pass_of):
    starts = set()
    for seed in range(5):
        for _, labels in pass_of(recordings, FitConfig(steps=1, rows=100), seed):
            steps = WINDOW * np.arange(labels.shape[1])
            np.testing.assert_array_equal(labels - labels[:, :1], np.broadcast_to(steps, labels.shape))
            starts |= set((labels[:, 0] % 100).tolist())
    assert 0 in starts and len(starts) > 2


def test_batches_follow_from_the_seed(recordings, pass_of):
    config = FitConfig(steps=1, rows=4, neurons=2)
    first, again, other = (
        b"".join(labels.tobytes() for _, labels in pass_of(recordings, config, seed)) for seed in (0, 0, 1)
    )
    assert first == again != other


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_sessions_take_turns_and_no_trial_comes_again_before_the_others_of_its_session(trials, turns, seed):
    sessions = [batches.TrainingTrials(2, np.full(count, 8), np.arange(count)) for count in trials]
    plan = batches.Batches(sessions, FitConfig(steps=1, rows=4), lambda stretches: stretches, seed=seed)
    visits = [[plan(turn * len(trials) + place) for place in range(len(trials))] for turn in range(turns)]
    for of_turn in visits:
        assert sorted(each.session for each in of_turn) == list(range(len(trials)))
    for session, count in enumerate(trials):
        seen = [trial for of_turn in visits for each in of_turn if each.session == session for trial in each.trials]
        for first in range(0, len(seen) - count + 1, count):
            assert sorted(seen[first : first + count]) == list(range(count))


def test_the_batch_of_a_step_is_the_same_in_any_order(recordings):
    make = batches.trace_batches(recordings, FitConfig(steps=1, rows=10), WINDOW, seed=0)
    forwards, backwards = [make(step) for step in range(12)], [make(step) for step in reversed(range(12))]
    assert all(torch.equal(*pair) for pair in zip(forwards, reversed(backwards), strict=True))


def test_sessions_and_lengths_are_mixed(recordings):
    plan = batches.trace_batches(recordings, FitConfig(steps=1, rows=1), WINDOW, seed=0)
    stretches = [plan.stretches(step) for step in range(16)]
    assert len({tuple(each.session for each in stretches[turn : turn + 2]) for turn in range(0, 16, 2)}) == 2
    lengths = [each.length for each in stretches if each.session == 0]
    assert lengths != sorted(lengths) and lengths != sorted(lengths, reverse=True)


def test_large_sessions_give_a_random_subset_of_neurons(recordings, pass_of):
    chosen = set()
    for number, labels in pass_of(recordings, FitConfig(steps=1, rows=6, neurons=3), 0):
        neurons = labels[:, 0] // 100 % 10
        trials = labels[:, 0] // 1e3 % 100
        assert len(set(neurons)) == 3
        assert all(set(neurons[trials == trial]) == set(neurons) for trial in set(trials))
        chosen |= {tuple(sorted(set(neurons)))} if number == 0 else set()
    assert len(chosen) > 1


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_chosen_neurons_are_distinct_and_at_most_as_many_as_asked(count, most, seed):
    chosen = batches.choose_neurons(count, most, np.random.default_rng(seed))
    assert len(set(chosen.tolist())) == len(chosen) == min(count, most)
    assert set(chosen.tolist()) <= set(range(count))


@given(st.lists(st.integers(3, 6), min_size=1, max_size=30), st.integers(1, 7))
def test_groups_keep_the_order_and_all_of_the_trials(lengths, size):
    lengths, trials = np.array(lengths), np.random.default_rng(0).permutation(len(lengths))
    groups = batches.group_trials(lengths, trials, size)
    for length in set(lengths):
        alike = [trial for group in groups for trial in group if lengths[trial] == length]
        assert alike == [trial for trial in trials if lengths[trial] == length]
    assert sum(map(len, groups)) == len(trials)
    assert all(len(group) <= size and len(set(lengths[group])) == 1 for group in groups)


def test_tokens_are_the_codes_of_whole_windows_and_of_training_trials_known(quantizer, uneven):
    tokenized = tokenize(quantizer, uneven)
    assert tokenized.name == uneven.name
    np.testing.assert_array_equal(tokenized.train, uneven.trials_of("train"))
    for tokens, trace in zip(tokenized.tokens, uneven.traces, strict=True):
        frames = trace.shape[1] // WINDOW * WINDOW
        codes = quantizer(torch.from_numpy(trace[:, :frames])).codes
        assert np.array_equal(tokens, codes.numpy()) and tokens.shape[1] == frames // WINDOW
