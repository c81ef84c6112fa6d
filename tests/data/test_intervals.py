"""Trials and windows on a clock: which frames each has, what is left out, and that no frame is in two splits."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from calm.data.intervals import (
    START,
    STOP,
    Trials,
    Windows,
    around_events,
    cut_into_trials,
    cut_into_windows,
    frames_between,
    place_windows,
)
from calm.data.preparation import prepare
from calm.data.recording import Recording
from calm.data.session import MIN_TRIALS, SPLIT_GROUP, SPLITS
from calm.errors import CalmError

RATE = 10.0
TRIALS = [(4.0 * trial, 4.0 * trial + 4) for trial in range(10)]
RNG = np.random.default_rng(0)


CLOCK = (np.arange(400) + 0.5) / RATE


def record(clock=CLOCK, signal=None) -> Recording:
    """A recording whose behaviour is the number of each frame."""
    numbers = np.arange(len(clock), dtype=np.float32)
    signal = RNG.normal(size=(2, len(clock))).astype(np.float32) if signal is None else signal
    neurons = pd.DataFrame({"id": range(len(signal))})
    return Recording("rec", "mouse", RATE, signal, np.asarray(clock), neurons, numbers[:, None], ("number",))


def table(times) -> pd.DataFrame:
    return pd.DataFrame(np.array(times, float).reshape(-1, 2), columns=[START, STOP]).assign(row=range(len(times)))


def rows_of(session) -> list[int]:
    return session.trials["row"].tolist()


def numbers_of(session, trial) -> list[int]:
    return session.behaviour[trial][:, 0].astype(int).tolist()


def with_row(index, times):
    return table([*TRIALS[:index], times, *TRIALS[index + 1 :]])


# --- Trials that cannot be used are left out, with their number and the reason


@pytest.mark.parametrize(
    ("trials", "reason", "left"),
    [
        (with_row(3, (12, np.nan)), "1 of 10 trials are left out: 1 without a start or stop time", 9),
        (with_row(0, (-3, 1)), "1 beyond the recording", 9),
        (with_row(9, (38, 60)), "1 beyond the recording", 9),
        (with_row(5, (20.01, 20.02)), "1 without frames", 9),
        (with_row(5, (24, 20)), "1 that stop before they start", 9),
        (table([*TRIALS, TRIALS[2]]), "1 of 11 trials are left out: 1 the same as another", 10),
        (table([*TRIALS[:8], (-3, 1), (np.nan, 1), (38, 60)]), "1 without a start or stop time, 2 beyond", 8),
    ],
)
def test_trials_that_cannot_be_used_are_left_out_with_a_count(trials, reason, left):
    with pytest.warns(UserWarning, match=f"rec: .*{reason}"):
        session = cut_into_trials(record(), trials)
    assert len(session.traces) == left and set(session.frames) == {40}
    assert all(
        numbers_of(session, index) == list(range(40 * row, 40 * row + 40)) for index, row in enumerate(rows_of(session))
    )


def test_a_gap_within_a_trial_or_at_its_end_leaves_it_out():
    clock = CLOCK.copy()
    clock[140:] += 1.5  # within trial 3, so that 25 frames of it were stitched together
    with pytest.warns(UserWarning, match="1 with a gap in the recording"):
        session = cut_into_trials(record(clock), table(TRIALS))
    assert rows_of(session) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    clock = CLOCK.copy()
    clock[120:] += 1.5  # trial 3 would begin 15 frames late
    with pytest.warns(UserWarning, match="1 with a gap in the recording"):
        assert 3 not in rows_of(cut_into_trials(record(clock), table(TRIALS)))


def test_frames_without_a_value_are_a_gap(recwarn):
    signal = RNG.normal(size=(2, 400)).astype(np.float32)
    signal[:, 130:133] = np.nan
    session = cut_into_trials(record(signal=signal), table(TRIALS))
    assert [str(warning.message) for warning in recwarn] == [
        "rec: 3 of 400 frames are NaN in all neurons, and taken as not recorded.",
        "rec: 1 of 10 trials are left out: 1 with a gap in the recording.",
    ]
    assert rows_of(session) == [0, 1, 2, 4, 5, 6, 7, 8, 9] and np.isfinite(np.concatenate(session.traces, 1)).all()
    with pytest.raises(CalmError, match="all frames are NaN"):
        cut_into_trials(record(signal=np.full((2, 400), np.nan, np.float32)), table(TRIALS))


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (table([(start, np.nan) for start, _ in TRIALS]), "none of 10 trials .*10 without a start or stop time"),
        (table(1000 * np.array(TRIALS) + 1000), "10 beyond the recording.*0.05 to 39.95 s.*in seconds"),
        (table([]), "none of 0 trials .*the table is empty"),
    ],
)
def test_a_table_without_a_usable_trial_is_refused(trials, words):
    with pytest.raises(CalmError, match=words):
        cut_into_trials(record(), trials)


# --- Borders


@pytest.mark.parametrize(
    ("late", "stop", "frames"),
    [
        (0.0, 4.0, 40),  # a frame on the border belongs to the next trial
        (1e-9, 4.0, 40),  # rounding changes nothing, whichever way it goes
        (-1e-9, 4.0, 40),
        (0.0, 3.901, 40),  # 1 ms after the last frame
        (0.0, 3.899, 39),  # 1 ms before it
        (0.05, 4.0, 40),  # half a frame behind the border
        (0.001, 4.0, 40),
        (-0.001, 4.0, 40),  # the first frame is 1 ms early, and another of the next trial comes in
    ],
)
def test_a_frame_belongs_to_a_trial_if_it_is_from_its_start_on_and_before_its_stop(late, stop, frames):
    clock = np.arange(100) / RATE + late
    ((first, behind),) = frames_between(np.array([[0.0, stop]]), clock)
    assert behind - first == frames
    assert first == (1 if late == -0.001 else 0)


@given(rate=st.floats(1, 100), lengths=st.lists(st.integers(1, 50), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_adjacent_trials_have_every_frame_once(rate, lengths, seed):
    borders = np.append(0, np.cumsum(lengths)) / rate
    jitter = np.random.default_rng(seed).uniform(-0.4, 0.4, sum(lengths))
    for clock in (np.arange(sum(lengths)) / rate, (np.arange(sum(lengths)) + 0.5 + jitter) / rate):
        edges = frames_between(np.stack([borders[:-1], borders[1:]], axis=1), clock.astype(np.float32).astype(float))
        assert np.diff(edges).ravel().tolist() == lengths
        assert edges.ravel()[0] == 0 and (edges[1:, 0] == edges[:-1, 1]).all()


# --- Any table on any clock

TIMES = st.lists(
    st.tuples(*[st.one_of(st.floats(-5, 25), st.integers(-2, 22).map(float), st.just(np.nan))] * 2), max_size=25
)
STEPS = st.lists(st.sampled_from([0.09, 0.1, 0.1, 0.1, 0.12, 0.31, 3.0]), min_size=10, max_size=150)


@settings(max_examples=60)
@given(times=TIMES, steps=STEPS, seed=st.integers(0, 99))
def test_whatever_the_table_and_the_clock_trials_are_whole_and_no_frame_is_in_two_splits(times, steps, seed):
    clock = np.cumsum(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            session = cut_into_trials(record(clock), table(times))
        except CalmError as error:
            assert "trials can be used" in str(error)
            return
    step = 1.5 * np.median(np.diff(clock)) + 1e-9
    for trial, (row, start, stop) in enumerate(session.trials[["row", START, STOP]].itertuples(index=False)):
        within = clock[numbers_of(session, trial)]
        assert (start, stop) == times[row]
        assert np.array_equal(within, clock[(clock >= start - 1e-4) & (clock < stop - 1e-4)])
        assert np.diff([start, *within, stop]).max() <= step
    splits_of_frames(session, seed)


def splits_of_frames(session, seed) -> dict[str, set[int]]:
    """The frames of each split, checked to be in no other; nothing if there are too few trials to split."""
    try:
        prepared = prepare(session, seed=seed)
    except CalmError as error:
        assert any(words in str(error) for words in ("too few", "no change"))
        return {}
    frames = {
        split: {number for trial in prepared.trials_of(split) for number in numbers_of(session, trial)}
        for split in SPLITS
    }
    assert sum(map(len, frames.values())) == len(set.union(*frames.values()))
    return frames


def test_trials_that_share_frames_stay_in_one_split():
    with pytest.warns(UserWarning, match="2 trials share frames with an earlier one"):
        session = cut_into_trials(record(), table([*TRIALS[:3], (8, 20), *TRIALS[4:]]))
    assert session.trials.groupby(SPLIT_GROUP)["row"].apply(list).tolist() == [
        [0],
        [1],
        [2, 3, 4],
        [5],
        [6],
        [7],
        [8],
        [9],
    ]
    splits = {tuple(prepare(session, seed=seed).trials["split"][2:5]) for seed in range(20)}
    assert splits == {(split,) * 3 for split in SPLITS}
    assert all(splits_of_frames(session, seed) for seed in range(20))


def test_trials_that_share_no_frame_are_no_group():
    assert SPLIT_GROUP not in cut_into_trials(record(), table(TRIALS)).trials


# --- Around events


def test_trials_around_events():
    trials = around_events(np.array([20.0, 5.0, 10.0, 14.9]), before=1.0, after=4.0)
    assert trials["event_time"].tolist() == [5.0, 10.0, 20.0]  # 14.9 lies within the trial of 10
    assert trials[[START, STOP]].to_numpy().tolist() == [[4, 9], [9, 14], [19, 24]]


def test_around_an_event_is_a_second_before_and_four_after_unless_it_is_said():
    assert (Trials(events="lick").before, Trials(events="lick").after) == (1, 4)


@pytest.mark.parametrize("content", [{}, {"tables": "epochs", "events": "lick"}])
def test_trials_come_from_one_source(content):
    with pytest.raises(ValueError, match="not from both"):
        Trials.model_validate(content)


# --- Windows


def test_windows_lie_behind_each_other_and_blocks_of_them_have_gaps():
    session = cut_into_windows(record(), Windows(length=20))
    starts, groups = (
        np.array([numbers_of(session, window)[0] for window in range(len(session.traces))]),
        session.trials[SPLIT_GROUP],
    )
    assert set(session.frames) == {20}
    assert np.diff(starts).tolist() == [20 if same else 30 for same in np.diff(groups) == 0]
    assert len(set(groups)) >= 7 and 20 * len(starts) > 0.75 * 400


@settings(max_examples=60)
@given(
    steps=STEPS,
    length=st.integers(1, 15),
    stride=st.integers(1, 20),
    gap=st.integers(0, 20),
    random=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_the_clock_windows_are_whole_and_splits_apart(steps, length, stride, gap, random, seed):
    clock = np.cumsum(steps)
    if random and stride < length:
        with pytest.raises(ValueError, match="overlap"):
            Windows(length=length, stride=stride, split="random")
        return
    windows = Windows(length=length, stride=stride, gap=gap, split="random" if random else "blocks")
    try:
        session = cut_into_windows(record(clock), windows)
    except CalmError as error:
        assert "no window" in str(error)
        return
    step = 1.5 * np.median(np.diff(clock)) + 1e-9
    assert all(
        np.diff(clock[numbers_of(session, window)]).max(initial=0) <= step for window in range(len(session.traces))
    )
    frames = splits_of_frames(session, seed)
    if frames and not random:
        labels = pd.Series({number: split for split in SPLITS for number in frames[split]}).sort_index()
        changes = labels.to_numpy()[1:] != labels.to_numpy()[:-1]
        assert (np.diff(labels.index)[changes] > gap).all()


@pytest.mark.parametrize("stretches", [[(0, 8000)], [(0, 3980), (4100, 8120)]])
def test_gaps_between_blocks_take_a_tenth_of_a_long_recording(stretches):
    edges, blocks = place_windows(stretches, Windows(length=80))
    sizes = np.bincount(blocks)
    assert set(sizes[:-1]) == {sizes[0]} and 0 < sizes[-1] <= sizes[0]
    assert 8000 - 80 * len(edges) == pytest.approx(0.1 * 8000, rel=0.25)


def test_a_block_that_ends_with_a_stretch_has_its_gap_in_the_next():
    stretches = [(start, start + 10) for start in range(0, 250, 13)]  # a window each, with less than a gap between
    edges, blocks = place_windows(stretches, Windows(length=10, gap=8))
    apart = edges[1:, 0] - edges[:-1, 1]
    assert len(set(blocks)) == MIN_TRIALS and (apart[np.diff(blocks) == 1] >= 8).all()
    assert (apart[np.diff(blocks) == 0] == 3).all()


def test_a_short_recording_has_blocks_enough_for_a_split():
    edges, blocks = place_windows([(0, 1000)], Windows(length=80))
    assert len(set(blocks)) >= MIN_TRIALS and len(edges) == len(blocks)


def test_a_recording_shorter_than_a_window_is_refused():
    with pytest.raises(CalmError, match="no window of 500 frames fits into the 400 frames"):
        cut_into_windows(record(), Windows(length=500))


def test_too_few_trials_or_windows_are_told_what_to_do():
    with pytest.raises(CalmError, match=r"rec: 6 trials are too few .* `windows`"):
        prepare(cut_into_trials(record(), table(TRIALS[:6])), seed=0)


def leak(session, signal, seed) -> float:
    """Correlation of test frames with the training frames that are nearest in time."""
    splits = prepare(session, seed=seed)
    train, test = (
        np.concatenate([numbers_of(session, window) for window in splits.trials_of(split)])
        for split in ("train", "test")
    )
    behind = np.searchsorted(train, test).clip(1, len(train) - 1)
    nearest = np.where(test - train[behind - 1] < train[behind] - test, train[behind - 1], train[behind])
    return float(np.corrcoef(signal[:, test].ravel(), signal[:, nearest].ravel())[0, 1])


def test_blocks_with_a_gap_leak_nothing_where_a_random_split_does():
    noise = np.random.default_rng(0).normal(size=(30, 6_000))
    signal = lfilter([1], [1, -np.exp(-1 / 10)], noise)  # correlated over 10 frames, as calcium at 6 Hz is
    recording = record(np.arange(6_000) / RATE, signal.astype(np.float32))
    blocks, random = (cut_into_windows(recording, Windows(split=split)) for split in ("blocks", "random"))
    assert np.mean([leak(random, signal, seed) for seed in range(4)]) > 0.15
    assert abs(np.mean([leak(blocks, signal, seed) for seed in range(4)])) < 0.05
