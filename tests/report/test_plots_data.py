"""Panels on recordings, tokenizer and pretraining draw the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.paper.plots import data as panels
from calm.paper.results import Row, table

pytestmark = pytest.mark.usefixtures("drawing")


@pytest.fixture
def axes():
    return plt.subplots()[1]


@pytest.fixture
def task():
    """Six trials, the rule switches before the fourth."""
    return pd.DataFrame(
        {
            "is_ruleA": [True, True, True, False, False, False],
            "is_cueB": [True, False, True, True, False, False],
            "is_choL": [True, False, True, False, False, True],
            "is_correct": [True, True, True, True, False, True],
        }
    )


def reconstruction(groups):
    """Three sessions of each group, better in training trials."""
    fixed = {"item": "fig1b", "dataset": "cohort", "method": "CalM", "metric": "corr", "n": 5, "seed": 0}
    return table(
        [
            Row(variant=group, split=split, session=f"{group} {session}", value=level + 0.01 * session, **fixed)
            for group in groups
            for split, level in (("train", 0.9), ("val", 0.8), ("test", 0.7))
            for session in range(3)
        ]
    )


def test_six_bars_stand_in_pairs_and_say_their_means(axes):
    panels.six_bars(axes, reconstruction(["held-in", "held-out"]), ["train", "val", "test"], "r")
    bars = [bar for bar in axes.patches if bar.get_height() > 0]
    assert [bar.get_height() for bar in bars] == pytest.approx([0.91, 0.81, 0.71] * 2)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    assert np.subtract(centres[3:], centres[:3]).tolist() == pytest.approx([1, 1, 1])
    assert [text.get_text() for text in axes.texts] == ["0.910", "0.810", "0.710"] * 2
    np.testing.assert_allclose(axes.get_xticks(), np.add(centres[:3], centres[3:]) / 2)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["held-in (n = 3 sessions)", "held-out (n = 3 sessions)"]


def test_without_held_out_sessions_there_are_three_bars(axes):
    panels.six_bars(axes, reconstruction(["held-in"]), ["train", "val", "test"], "r")
    assert len([bar for bar in axes.patches if bar.get_height() > 0]) == 3
    assert axes.get_xticks().tolist() == [0, 2, 4]


def test_the_strip_tells_cue_rule_choice_and_mistakes(axes, task):
    panels.trial_strip(axes, np.arange(7.0) * 10, task)
    assert [text.get_text() for text in axes.texts[3:5]] == ["rule B: right", "rule B: right, wrong"]
    faces = [box.get_facecolor()[:3] == (0, 0, 0) for box in axes.patches]
    assert faces == task["is_cueB"].tolist()
    assert [box.get_x() for box in axes.patches] == [0, 10, 20, 30, 40, 50]


def test_blocks_are_the_runs_of_one_rule():
    assert panels.blocks(np.array([True, True, False, True])) == [(0, 2), (2, 3), (3, 4)]
    assert panels.blocks(np.array([False, False])) == [(0, 2)]


def test_the_running_share_of_correct_trials_stays_within_the_session(axes, task):
    panels.share_correct(axes, task)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 5 / 6)  # the window is longer than these six trials
    assert [text.get_text() for text in axes.texts] == ["rule A", "rule B"]


def test_each_trial_has_a_tick_for_cue_and_choice(axes, task):
    panels.cues_and_choices(axes, task)
    ticks = {label.get_text(): place for place, label in enumerate(axes.get_yticklabels())}
    drawn = {line.get_ydata()[0]: line.get_xdata().tolist() for line in axes.lines}
    assert drawn[ticks["black"]] == [0, 2, 3] and drawn[ticks["white"]] == [1, 4, 5]
    assert drawn[ticks["left"]] == [0, 2, 5] and drawn[ticks["wrong"]] == [4]


def test_channels_are_named_where_they_are_drawn(axes):
    values = np.stack([np.zeros(5), np.ones(5), np.full(5, 2.0)], axis=1)
    panels.channels(axes, np.arange(5.0), values, ["pitch", "roll", "yaw"])
    places = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    for line, level in zip(axes.lines, (2, 1, 0), strict=True):
        assert line.get_ydata()[0] - places[line.get_label()] == level
    assert places["pitch"] > places["roll"] > places["yaw"]


def test_the_rate_has_an_axis_of_its_own(axes):
    time = np.arange(4.0)
    panels.trace_over_rate(axes, time, np.array([-1.0, 0, 1, 2]), np.array([0, 5, 5, 0.0]))
    assert len(axes.figure.axes) == 2 and "spikes/s" in axes.figure.axes[1].get_ylabel()
    panels.trace_over_rate(plt.subplots()[1], time, np.zeros(4), None)
    assert len(plt.gcf().axes) == 1


def test_z_scores_of_the_smoothed_trace_are_on_the_right(axes):
    panels.before_preparation(axes, np.arange(3.0), np.array([0.0, 4, 2]), np.array([0.0, 2, 2]), (1.0, 0.5))
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    (right,) = axes.child_axes
    assert right.get_ylim() == pytest.approx(((low - 1) / 0.5, (high - 1) / 0.5))


def test_averages_by_cue_and_choice_have_their_line_and_band(axes):
    kinds = [("black", "left"), ("white", "right")]
    shared = {"seconds": [-1.0, 0.0, 1.0], "sem": 0.5, "n": 7}
    rows = pd.concat(
        [
            pd.DataFrame({**shared, "cue": cue, "choice": choice, "value": float(k)})
            for k, (cue, choice) in enumerate(kinds)
        ]
    )
    panels.condition_averages(axes, rows)
    black, white = axes.lines[:2]
    assert (black.get_linestyle(), white.get_linestyle()) == ("-", "--") and black.get_color() != white.get_color()
    assert white.get_label() == "white, right (n = 7)"
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.5, 1.5)


def test_gap_lines_are_means_over_sessions_at_each_time(axes):
    rows = pd.DataFrame(
        [
            {
                "session": session,
                "variant": variant,
                "split": split,
                "seconds": seconds,
                "value": level + seconds + session,
            }
            for level, variant in enumerate(panels.TRAINED)
            for split in ("train", "val", "test")
            for seconds in (1.0, 2.0)
            for session in (0, 1)
        ]
    )
    panels.gap_lines(axes, rows, "nats")
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert len(drawn) == 4 and "n = 2" in axes.get_xlabel()
    assert drawn["with scheduled sampling, train"] == [1.5, 2.5] and drawn["without, test"] == [2.5, 3.5]
