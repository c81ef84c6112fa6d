"""Looking at a session: preparation can be undone, and averages are of the right trials and moments."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from calm.data.preparation import prepare, smooth
from calm.paper.experiments.inspection import (
    add_averages,
    add_sessions,
    add_task,
    has_task,
    neighbour_correlation,
    recorded_trace,
    selective_neurons,
    smoothed_trace,
    some_consecutive,
)
from calm.paper.results import Results
from calm.profile import load_profile
from calm.recordings import Recordings

TRIALS = 24
SPAN = 25  # frames on either side: 5 s at 5 frames/s


def recordings_of(session):
    return Recordings("mine", [session], [], load_profile("smoke"))


def values_of(add, session):
    """Values by metric of what is added of a single session."""
    results = Results("mine", seed=0)
    add(results, recordings_of(session), item="data")
    return results.table("data").set_index("metric")["value"].to_dict()


def averages_of(session, neurons):
    results = Results("mine", seed=0)
    add_averages(results, session, np.array(neurons), item="data_averages")
    return results.table("data_averages")


@pytest.fixture
def maze(make_session):
    """A session of a maze: the arm is entered at frame 30 of trials with 50 to 73 frames."""
    session = make_session(range(50, 50 + TRIALS), neurons=4)
    number = np.arange(TRIALS)
    columns = {"is_cueB": number % 2 == 0, "is_choL": number % 4 < 2, "is_ruleA": number < 12}
    columns |= {"is_correct": number % 6 != 0, "is_switch": number == 12}
    columns |= {"stem_frame": 0, "arm_frame": 30, "maze_frames": 36}
    return dataclasses.replace(session, trials=session.trials.assign(**columns))


@pytest.mark.parametrize("weight", [0.15, 0.5, 1.0])
def test_preparation_can_be_undone(make_session, weight):
    raw = make_session([18, 24, 31] * 5)
    session = prepare(raw, seed=0, smoothing=weight)
    for trial, trace in enumerate(raw.traces):
        np.testing.assert_allclose(smoothed_trace(session, trial), smooth(trace, weight), atol=1e-5)
        np.testing.assert_allclose(recorded_trace(session, trial, weight), trace, atol=1e-4)


def test_neighbouring_frames_of_white_noise_do_not_correlate_and_of_smoothed_noise_do():
    noise = np.random.default_rng(0).normal(size=(50, 2000))
    assert neighbour_correlation([noise]) == pytest.approx(0, abs=0.01)
    assert neighbour_correlation([smooth(noise, 0.15)]) == pytest.approx(0.85, abs=0.02)


def test_the_trials_shown_have_the_first_switch_of_the_rule_among_them(maze, uneven):
    assert 12 in some_consecutive(maze, 4)
    assert np.diff(some_consecutive(maze, 4)).tolist() == [1, 1, 1]
    assert some_consecutive(uneven, 4).tolist() == [0, 1, 2, 3]
    assert len(some_consecutive(uneven, 99)) == len(uneven.traces)


def test_a_session_without_the_task_is_told_from_one_with_it(maze, uneven):
    assert has_task(maze) and not has_task(uneven)
    assert values_of(add_task, uneven) == {}


def test_the_task_in_numbers(maze):
    expected = {"share correct": 20 / 24, "share black cues": 0.5, "share left": 0.5, "switches of the rule": 1}
    assert values_of(add_task, maze) == pytest.approx(expected)


def test_a_session_in_numbers(maze):
    assert values_of(add_sessions, maze) == {"neurons": 4, "trials": TRIALS, "mean trial frames": 61.5}


def test_whose_a_session_is_stands_in_a_table_of_its_own(maze):
    results = Results("mine", seed=0)
    add_sessions(results, Recordings("mine", [maze], [], load_profile("smoke")), item="data_session")
    subjects = results.table("data_session_subjects")
    assert dict(zip(subjects["session"], subjects["subject"], strict=True)) == {maze.name: maze.subject}


def test_averages_are_aligned_to_the_entry_of_the_arm(maze):
    ramps = [np.tile(np.arange(length, dtype=float) - 30, (4, 1)) for length in maze.frames]
    session = dataclasses.replace(maze, traces=tuple(ramps))
    rows = averages_of(session, [1, 3])
    np.testing.assert_allclose(rows["value"], rows["seconds"] * session.rate, atol=1e-12)
    assert rows["seconds"].min() == -5 and rows["seconds"].max() == 5
    np.testing.assert_allclose(rows["sem"], 0, atol=1e-12)
    assert set(rows["neuron"]) == {1, 3}


def test_averages_are_of_the_trials_with_this_cue_and_choice(maze):
    codes = 10 * maze.trials["is_cueB"] + maze.trials["is_choL"]
    traces = tuple(np.full((4, length), float(code)) for code, length in zip(codes, maze.frames, strict=True))
    session = dataclasses.replace(maze, traces=traces)
    rows = averages_of(session, [0])
    means = rows.groupby(["cue", "choice"])["value"].unique().map(list).to_dict()
    expected = {("black", "left"): [11], ("black", "right"): [10], ("white", "left"): [1], ("white", "right"): [0]}
    assert means == expected


def test_averages_count_the_trials_that_reach_a_moment(maze):
    rows = averages_of(maze, [0])
    assert rows.groupby("seconds")["n"].sum().loc[[0.0, 3.8, 5.0]].tolist() == [24, 24, 18]  # 55 frames reach 4.8 s
    value = np.mean([maze.traces[trial][0, 30] for trial in range(TRIALS) if trial % 4 == 0])
    at_entry = rows[(rows["seconds"] == 0) & (rows["cue"] == "black") & (rows["choice"] == "left")]
    assert at_entry["value"].item() == pytest.approx(value)


def test_trials_without_a_maze_take_no_part_in_averages(maze):
    trials = maze.trials.assign(maze_frames=np.where(np.arange(TRIALS) < 4, 0, 36))
    rows = averages_of(dataclasses.replace(maze, trials=trials), [0])
    assert rows[rows["seconds"] == 0]["n"].sum() == TRIALS - 4


def test_the_neuron_that_tells_cues_and_choices_apart_is_found(maze):
    left = maze.trials["is_choL"].to_numpy()
    traces = [trace.copy() for trace in maze.traces]
    for trace, side in zip(traces, left, strict=True):
        trace[2, :36] += 2 * side
    assert selective_neurons(dataclasses.replace(maze, traces=tuple(traces)), 2)[0] == 2


def test_activity_behind_the_maze_does_not_make_a_neuron_selective(maze):
    traces = [trace.copy() for trace in maze.traces]
    for trace, side in zip(traces, maze.trials["is_choL"], strict=True):
        trace[1, 36:] += 50 * side
    selected = dataclasses.replace(maze, traces=tuple(traces))
    pd.testing.assert_index_equal(pd.Index(selective_neurons(selected, 4)), pd.Index(selective_neurons(maze, 4)))
